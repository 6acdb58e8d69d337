import math
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from shared.stream.deadline import Pace, begin_by, overdue, shortest_allowance_s
from tests.events_of_chips import NOON, identity

SECOND = timedelta(seconds=1)


def test_a_chip_without_a_deadline_is_never_late():
    assert overdue(identity(), NOON + 1000 * SECOND, "toy", needed=1000 * SECOND) is None


def test_a_chip_is_late_once_its_deadline_has_passed():
    chip = identity(verdict_by=NOON + SECOND)
    assert overdue(chip, NOON + SECOND, "toy") is None
    assert "was due 0.500 s ago" in overdue(chip, NOON + 1.5 * SECOND, "toy").detail


def test_a_chip_is_late_when_what_remains_is_less_than_what_it_needs():
    chip = identity(verdict_by=NOON + 10 * SECOND)
    assert overdue(chip, NOON + 7 * SECOND, "toy", needed=3 * SECOND) is None
    assert "due in 2.000 s" in overdue(chip, NOON + 8 * SECOND, "toy", needed=3 * SECOND).detail


@given(budget=st.integers(1, 10**6), needed=st.integers(0, 10**9))
def test_however_slow_a_stage_has_become_a_chip_in_the_first_half_of_its_time_is_not_late(budget, needed):
    chip = identity(verdict_by=NOON + timedelta(milliseconds=budget))
    assert begin_by(chip, timedelta(milliseconds=needed)) >= NOON + timedelta(milliseconds=budget) / 2


def test_a_capture_time_after_the_deadline_takes_nothing_from_it():
    chip = identity(captured_at=NOON + 100 * SECOND, verdict_by=NOON)
    assert begin_by(chip, 5 * SECOND) == NOON


def test_the_most_urgent_chip_is_the_one_with_the_least_time_from_capture_to_deadline():
    chips = [identity(), identity(verdict_by=NOON + 3 * SECOND), identity(verdict_by=NOON + 2 * SECOND)]
    assert shortest_allowance_s(chips) == 2
    assert shortest_allowance_s(chips[:1]) == math.inf
    assert shortest_allowance_s([identity(captured_at=NOON + SECOND, verdict_by=NOON)]) == 0


def test_the_pace_follows_the_batches():
    pace = Pace(later_stages=timedelta())
    assert pace.needed == timedelta()
    for _ in range(20):
        pace.note(2.0)
    assert timedelta(seconds=1.9) < pace.needed <= 2 * SECOND


def test_later_stages_get_what_they_usually_need_and_as_much_as_this_one_where_that_is_more():
    pace = Pace(later_stages=SECOND)
    assert pace.needed == SECOND
    for _ in range(20):
        pace.note(2.0)
    assert timedelta(seconds=3.9) < pace.needed <= 4 * SECOND
