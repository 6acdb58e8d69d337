import pytest

from shared.settings import StreamSettings
from shared.stream.dead_letter import DeadLetterTally
from shared.stream.errors import TooManyDeadLetters

LIMITS = StreamSettings(dead_letter_streak=5, dead_letter_ratio=0.5, dead_letter_window=10)


def test_a_streak_stops_the_stage_and_names_what_failed_first():
    with pytest.raises(TooManyDeadLetters, match=r"5 records in a row failed.*_STREAK\) is 5.*because: first"):
        DeadLetterTally().after(["first", *["later"] * 4], LIMITS)


def test_a_streak_is_explained_by_its_own_first_failure_not_by_an_older_one():
    tally = DeadLetterTally().after(["an old one", None, None, "the disk is gone", "x"], LIMITS)
    with pytest.raises(TooManyDeadLetters, match="because: the disk is gone"):
        tally.after(["x"] * 3, LIMITS)


def test_too_large_a_share_is_explained_by_the_oldest_failure_that_counts():
    tally = DeadLetterTally().after(["forgotten", None, "a", None, None, "b", None, "c", None, "d"], LIMITS)
    with pytest.raises(TooManyDeadLetters, match=r"6 of the last 10 records failed.*because: b"):
        tally.after([None, "e", "f", "g"], LIMITS)


def test_a_streak_goes_on_over_batches():
    tally = DeadLetterTally().after(["x"] * 3, LIMITS)
    with pytest.raises(TooManyDeadLetters):
        tally.after(["x"] * 2, LIMITS)


def test_a_record_that_goes_well_ends_the_streak():
    DeadLetterTally().after(["x", "x", "x", "x", None, "x", "x", "x", "x"], LIMITS)


def test_too_large_a_share_stops_the_stage_once_there_are_enough_records_to_tell():
    tally = DeadLetterTally().after(["x", "x", None] * 3, LIMITS)
    with pytest.raises(TooManyDeadLetters, match="of the last 10 records failed"):
        tally.after(["x"], LIMITS)


def test_old_failures_are_forgotten():
    tally = DeadLetterTally().after(["x"] * 4, LIMITS)
    for _ in range(20):
        tally = tally.after([None], LIMITS)
    assert not any(tally.window)


def test_a_batch_that_is_not_committed_does_not_count():
    before = DeadLetterTally()
    before.after(["x"] * 4, LIMITS)
    assert before.after(["x"] * 4, LIMITS).streak == 4
