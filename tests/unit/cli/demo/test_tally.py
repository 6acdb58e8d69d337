from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cli.demo.tally import SeenVerdict, SentChip, tally
from shared.events import Verdict

PASS, REJECT, UNINSPECTED = Verdict.PASS, Verdict.REJECT, Verdict.UNINSPECTED


def sent(*defective: bool) -> dict[str, SentChip]:
    return {str(n): SentChip(str(n), is_defective, 100.0 + n) for n, is_defective in enumerate(defective)}


def seen(*verdicts: Verdict) -> list[SeenVerdict]:
    return [SeenVerdict(str(n), verdict, 100.0 + n + 0.05) for n, verdict in enumerate(verdicts)]


def test_right_and_wrong_verdicts_are_told_apart() -> None:
    figures = tally(sent(False, False, True, True, True), seen(PASS, REJECT, PASS, REJECT, UNINSPECTED))
    assert (figures.sent, figures.verdicts, figures.lost, figures.duplicated) == (5, 5, 0, 0)
    assert (figures.rejected, figures.uninspected, figures.escapes, figures.false_rejects) == (2, 1, 1, 1)
    assert figures.is_exact


def test_latency_is_captured_to_readable() -> None:
    figures = tally(sent(False, False), seen(PASS, PASS))
    assert (figures.p50_ms, figures.p99_ms) == (pytest.approx(50), pytest.approx(50))


def test_a_chip_without_a_verdict_is_lost() -> None:
    figures = tally(sent(False, False), seen(PASS))
    assert (figures.lost, figures.is_exact) == (1, False)


def test_a_second_verdict_is_a_duplicate_and_the_first_one_counts() -> None:
    first, *_ = seen(PASS)
    figures = tally(sent(False), [first, replace(first, verdict=REJECT)])
    assert (figures.duplicated, figures.rejected, figures.is_exact) == (1, 0, False)


def test_a_verdict_on_a_chip_that_was_never_sent_is_a_duplicate() -> None:
    assert tally({}, seen(PASS)).duplicated == 1


def test_without_verdicts_there_is_no_latency() -> None:
    assert tally(sent(False), []).p50_ms is None


@given(chips=st.integers(0, 20), events=st.lists(st.tuples(st.integers(0, 25), st.sampled_from(Verdict)), max_size=60))
def test_every_chip_and_every_verdict_is_accounted_for(chips: int, events: list[tuple[int, Verdict]]) -> None:
    verdicts = [SeenVerdict(str(n), verdict, 1.0) for n, verdict in events]
    figures = tally(sent(*[False] * chips), verdicts)
    assert figures.sent - figures.lost == figures.verdicts - figures.duplicated
    assert figures.is_exact == (sorted(str(n) for n in range(chips)) == sorted(each.event_id for each in verdicts))
