from dataclasses import replace
from datetime import timedelta

import pytest

from services.cli.collect.choice import Wanted, chosen
from shared.events import ChipInspected, Verdict
from tests.contract.examples import EXAMPLES

SOME = EXAMPLES["ChipInspected"]
SINCE = SOME.inspected_at - timedelta(hours=1)
REJECTS = Wanted(verdicts=frozenset({Verdict.REJECT}), since=SINCE)


def verdict(said: Verdict, event_id: str = "one", **fields: object) -> ChipInspected:
    return replace(SOME, verdict=said, event_id=event_id, **fields)


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        ({}, True),
        ({"verdicts": frozenset({Verdict.PASS})}, False),
        ({"verdicts": frozenset({Verdict.PASS, Verdict.REJECT})}, True),
        ({"product": SOME.product, "line": SOME.line_id}, True),
        ({"product": "another"}, False),
        ({"line": "another"}, False),
        ({"since": SOME.inspected_at}, True),
        ({"since": SOME.inspected_at + timedelta(microseconds=1)}, False),
        ({"until": SOME.inspected_at}, False),
        ({"until": SOME.inspected_at + timedelta(microseconds=1)}, True),
    ],
)
def test_a_verdict_is_meant_where_all_that_was_asked_for_is_so(wanted: dict, taken: bool) -> None:
    assert replace(REJECTS, **wanted).takes(verdict(Verdict.REJECT)) is taken


def test_of_a_chip_that_was_judged_again_the_last_verdict_counts() -> None:
    rejected, passed = verdict(Verdict.REJECT, "sent back"), verdict(Verdict.PASS, "sent back")
    other = verdict(Verdict.REJECT, "other")

    assert chosen([rejected, other, passed], REJECTS, None) == [other]
    assert chosen([passed, other, rejected], REJECTS, None) == [other, rejected]


def test_chips_of_two_lines_under_one_event_id_are_two() -> None:
    both = [verdict(Verdict.REJECT, line_id="line-1"), verdict(Verdict.REJECT, line_id="line-2")]

    assert chosen(both, REJECTS, None) == both


def test_a_lottery_takes_the_same_of_the_same_in_any_order_and_not_the_first_ones() -> None:
    rejects = [verdict(Verdict.REJECT, f"{number:03}") for number in range(100)]

    few = chosen(rejects, REJECTS, 10)

    assert len({each.event_id for each in few}) == 10
    assert chosen(rejects[::-1], REJECTS, 10) == few
    assert chosen(rejects, REJECTS, 11)[:10] == few
    assert {each.event_id for each in few} != {each.event_id for each in rejects[:10]}
    assert len(chosen(rejects, REJECTS, 200)) == 100
