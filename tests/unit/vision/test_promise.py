from dataclasses import replace

import pytest

from shared.vision.promise import Promise, Subject

PROMISE = Promise(asked_rate=0.05, promised_rate=0.05, confidence=0.975, pictures=200, tolerated=4)


@pytest.mark.parametrize(
    ("subject", "happens"),
    [
        ("rejects", "good pictures are rejected (from 200 good pictures)"),
        ("masks", "good pictures show a mask (from 200 good pictures)"),
        ("escapes", "defective pictures are passed (from 200 defective pictures)"),
    ],
)
def test_a_promise_that_is_kept_says_of_what_and_on_what_it_rests(subject: Subject, happens: str) -> None:
    assert str(replace(PROMISE, subject=subject)) == f"with 97.5% confidence at most 5.000% of {happens}"


def test_of_groups_it_says_what_they_are_worth() -> None:
    assert str(replace(PROMISE, groups=10, effective=39.6)).endswith(
        "(from 200 good pictures in 10 groups, worth 40 independent ones)"
    )


def test_one_that_is_not_kept_says_why_and_what_holds_as_it_is() -> None:
    few = replace(PROMISE, promised_rate=0.08, lowest_rate=0.06, needed=250)
    assert str(few) == (
        "200 good pictures are too few to promise a false-reject rate of 5.000% with 97.5% confidence: 6.000% at "
        "best; about 250 pictures would do. "
        "As it is, with 97.5% confidence at most 8.000% of good pictures are rejected"
    )
    another_threshold = replace(few, lowest_rate=0.05)
    assert another_threshold.complaint == (
        "4 of 200 good pictures are rejected by this threshold, too many to promise a false-reject rate of 5.000% "
        "with 97.5% confidence"
    )
