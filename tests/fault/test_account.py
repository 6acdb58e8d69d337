"""The account of a run finds what it must find: each wrong thing alone, in an outcome that is right otherwise."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from shared.events import Uninspected, UninspectedReason, Verdict
from shared.identity import identity_of
from tests.contract.examples import EXAMPLES
from tests.fault.whole_line.account import Account, Outcome, account
from tests.fault.whole_line.chips import POISON, Chip, chips, with_repeats

CHIPS = chips(3, 600, good=[b"good"], defective=[b"defective"])
POISON_CHIP = next(chip for chip in CHIPS if chip.is_poison)
PLAIN_CHIP = next(chip for chip in CHIPS if not chip.is_poison and chip.event.line_id != POISON_CHIP.event.line_id)


def outcome() -> Outcome:
    """What a line that does all it promised makes of the chips."""
    found = Outcome(verdicts=[], rejects=[], alerts=[EXAMPLES["AlertRaised"]], dead_letters=[], unread=[])
    for chip in CHIPS:
        identity = identity_of(chip.event).fields()
        reason = POISON.get(chip.kind, UninspectedReason.TOO_LATE if chip.kind == "late" else None)
        about = {
            **identity,
            "verdict": Verdict.UNINSPECTED if reason else Verdict.REJECT if chip.kind == "defective" else Verdict.PASS,
            "uninspected": Uninspected(reason=reason, detail="", stage="extractor") if reason else None,
        }
        found.verdicts.append(replace(EXAMPLES["ChipInspected"], **about))
        if about["verdict"] is not Verdict.PASS:
            found.rejects.append(replace(EXAMPLES["ChipRejected"], **about))
        if chip.is_poison:
            del identity["captured_at"], identity["verdict_by"]
            found.dead_letters.append(replace(EXAMPLES["DeadLetter"], **identity))
    return found


def position(found: Outcome, chip: Chip) -> int:
    return next(number for number, verdict in enumerate(found.verdicts) if verdict.event_id == chip.event_id)


def lose_a_verdict(found: Outcome) -> None:
    del found.verdicts[position(found, PLAIN_CHIP)]


def judge_twice(found: Outcome) -> None:
    found.verdicts.append(found.verdicts[position(found, PLAIN_CHIP)])


def judge_a_stranger(found: Outcome) -> None:
    found.verdicts.append(replace(found.verdicts[0], event_id="9-999999", line_id="another"))


def swap_two_of_a_line(found: Outcome) -> None:
    line = found.verdicts[0].line_id
    first, second = [number for number, verdict in enumerate(found.verdicts) if verdict.line_id == line][:2]
    found.verdicts[first], found.verdicts[second] = found.verdicts[second], found.verdicts[first]


def score_otherwise(found: Outcome) -> None:
    place = position(found, PLAIN_CHIP)
    found.verdicts[place] = replace(found.verdicts[place], score=1.0)


def pass_poison(found: Outcome) -> None:
    place = position(found, POISON_CHIP)
    found.verdicts[place] = replace(found.verdicts[place], verdict=Verdict.PASS, uninspected=None)


def lose_a_dead_letter(found: Outcome) -> None:
    del found.dead_letters[0]


def bury_twice(found: Outcome) -> None:
    found.dead_letters.append(found.dead_letters[0])


def lose_a_reject(found: Outcome) -> None:
    del found.rejects[0]


def alert_twice(found: Outcome) -> None:
    found.alerts.append(found.alerts[0])


def leave_unread(found: Outcome) -> None:
    found.unread.append("images:0:7 by extractor, which committed {0: 7}")


def test_a_line_that_kept_its_promises_has_an_exact_account():
    exact = account(CHIPS, outcome(), outcome())
    assert exact.is_exact
    assert (exact.sent, exact.verdicts, exact.examples) == (600, 600, [])
    assert exact.dead_letters == sum(chip.is_poison for chip in CHIPS) > 0


@pytest.mark.parametrize(
    ("wrong", "counts"),
    [
        (lose_a_verdict, {"lost": 1}),
        (judge_twice, {"duplicated": 1}),
        (judge_a_stranger, {"duplicated": 1}),
        (swap_two_of_a_line, {"reordered": 1}),
        (score_otherwise, {"misjudged": 1}),
        (pass_poison, {"misjudged": 1, "poison_misplaced": 1}),
        (lose_a_dead_letter, {"poison_misplaced": 1}),
        (bury_twice, {"poison_misplaced": 1}),
        (lose_a_reject, {"rejects_differing": 1}),
        (alert_twice, {"alerts_differing": 1}),
        (leave_unread, {"unread": 1}),
    ],
)
def test_each_broken_promise_is_counted_as_what_it_is(wrong: Callable[[Outcome], None], counts: dict[str, int]):
    found = outcome()
    wrong(found)
    accounted: Account = account(CHIPS, outcome(), found)
    names = ("lost", "duplicated", "reordered", "misjudged", "poison_misplaced", "rejects_differing")
    names += ("alerts_differing", "unread")
    assert {name: getattr(accounted, name) for name in names if getattr(accounted, name)} == counts
    assert not accounted.is_exact
    assert accounted.examples


def test_every_chip_is_sent_in_its_order_and_some_once_more():
    sent = with_repeats(3, CHIPS)
    assert list(dict.fromkeys(chip.event_id for chip in sent)) == [chip.event_id for chip in CHIPS]
    assert len(CHIPS) * 1.005 < len(sent) < len(CHIPS) * 1.05
    assert sent == with_repeats(3, CHIPS)
