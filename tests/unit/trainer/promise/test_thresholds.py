import numpy as np
import pytest
from scipy.special import ndtr

from services.trainer.errors import PromiseRefused
from services.trainer.promise.thresholds import Asked, HeldOut, choose_mask_threshold, choose_threshold

NONE = HeldOut(np.empty(0, np.float32), None)
NORMALS = HeldOut(np.random.default_rng(0).standard_normal(400).astype(np.float32), None)
FAR = HeldOut(np.random.default_rng(1).normal(8, 1, 100).astype(np.float32), None)
NEAR = HeldOut(np.random.default_rng(1).normal(1, 1, 100).astype(np.float32), None)


def test_what_is_asked_for_by_name_and_can_be_carried_is_kept() -> None:
    threshold = choose_threshold(NORMALS, NONE, Asked(false_reject_rate=0.05, confidence=0.9))
    assert threshold.promise.kept
    assert threshold.promise.promised_rate == 0.05
    assert not threshold.warnings


def test_what_is_asked_for_by_name_and_cannot_be_carried_is_refused_with_what_could_be() -> None:
    with pytest.raises(PromiseRefused, match=r"400 good pictures are too few .* at best; about 2995 pictures"):
        choose_threshold(NORMALS, NONE, Asked(false_reject_rate=0.001))


def test_a_confidence_alone_is_asked_for_by_name_too() -> None:
    with pytest.raises(PromiseRefused):
        choose_threshold(NORMALS, NONE, Asked(confidence=0.999))


@pytest.mark.parametrize("asked", [Asked(), Asked(false_reject_rate=0.001, best_effort=True)])
def test_what_is_not_asked_for_by_name_or_at_best_effort_is_warned_of(asked: Asked) -> None:
    few = HeldOut(NORMALS.scores[:50], None)
    threshold = choose_threshold(few, NONE, asked)
    assert not threshold.promise.kept
    assert "too few to promise" in threshold.warnings[0]


def test_too_few_pictures_are_refused_before_the_long_work() -> None:
    with pytest.raises(PromiseRefused, match=r"44 good pictures in 2 groups are too few .* 45 independent ones"):
        Asked(false_reject_rate=0.05, confidence=0.9).refuse_early(44, ["a"] * 22 + ["b"] * 22)
    Asked(false_reject_rate=0.05, confidence=0.9).refuse_early(45, None)
    Asked().refuse_early(2, None)


def test_false_rejects_and_escapes_are_promised_together_where_they_can_be() -> None:
    asked = Asked(false_reject_rate=0.05, confidence=0.9, max_escape_rate=0.05)
    threshold = choose_threshold(NORMALS, FAR, asked)
    assert threshold.escapes is not None
    assert threshold.escapes.kept
    assert "at most 5.000% of defective pictures are passed" in str(threshold.escapes)


def test_promises_that_conflict_are_said_to_and_refused() -> None:
    asked = {"false_reject_rate": 0.05, "confidence": 0.9, "max_escape_rate": 0.05}
    with pytest.raises(PromiseRefused, match=r"the promises conflict.*of 100 known defects pass.*would keep escapes"):
        choose_threshold(NORMALS, NEAR, Asked(**asked))
    threshold = choose_threshold(NORMALS, NEAR, Asked(**asked, best_effort=True))
    assert threshold.promise.kept  # the false-reject rate is kept in any case
    assert "the promises conflict" in threshold.warnings[0]
    assert threshold.escapes is not None
    assert not threshold.escapes.kept


def test_where_defects_are_enough_but_the_threshold_is_not_low_enough_they_are_not_called_too_few() -> None:
    asked = Asked(false_reject_rate=0.05, confidence=0.9, max_escape_rate=0.05, best_effort=True)
    escapes = choose_threshold(NORMALS, NEAR, asked).escapes
    assert escapes is not None
    assert "too few" not in str(escapes)
    assert str(escapes).startswith(
        f"{escapes.tolerated} of 100 defective pictures are passed by this threshold, too many to promise an escape "
        "rate of 5.000% with 90% confidence. As it is, with 90% confidence at most "
    )


@pytest.mark.parametrize(("confidence", "said"), [(0.975, "97.5%"), (0.999, "99.9%"), (0.9999, "99.99%"), (0.9, "90%")])
def test_no_more_confidence_is_said_than_was_asked_for(confidence: float, said: str) -> None:
    asked = Asked(false_reject_rate=0.2, confidence=confidence)
    assert f"with {said} confidence" in str(choose_threshold(NORMALS, NONE, asked).promise)
    asked = Asked(false_reject_rate=0.0001, confidence=confidence)
    with pytest.raises(PromiseRefused, match=rf"with {said} confidence"):
        choose_threshold(NORMALS, NONE, asked)
    with pytest.raises(PromiseRefused, match=rf"with {said} confidence"):
        asked.refuse_early(10, None)


def test_a_few_defects_cannot_promise_escapes() -> None:
    five = HeldOut(FAR.scores[:5], None)
    with pytest.raises(PromiseRefused, match=r"5 defective pictures are too few to promise an escape rate of 5"):
        choose_threshold(NORMALS, five, Asked(max_escape_rate=0.05))


def test_a_limit_on_escapes_alone_asks_for_no_rate_of_false_rejects_by_name() -> None:
    few = HeldOut(NORMALS.scores[:50], None)
    threshold = choose_threshold(few, FAR, Asked(max_escape_rate=0.05))
    assert threshold.escapes is not None
    assert threshold.escapes.kept
    assert "50 good pictures are too few" in threshold.warnings[0]


def test_a_limit_on_escapes_needs_defects() -> None:
    with pytest.raises(PromiseRefused, match="give --abnormal"):
        choose_threshold(NORMALS, NONE, Asked(max_escape_rate=0.05))


def test_where_nothing_is_asked_for_and_defects_are_known_they_are_caught() -> None:
    normals = HeldOut(np.append(NORMALS.scores, [30, 31]).astype(np.float32), None)  # two that look like defects
    threshold = choose_threshold(normals, FAR, Asked())
    assert NORMALS.scores.max() <= threshold.value < FAR.scores.min()
    assert threshold.promise.tolerated == 2
    assert 2 / 402 < threshold.promise.promised_rate < 0.025


def test_a_threshold_that_was_picked_breaks_its_promise_no_more_often_than_it_says() -> None:
    random = np.random.default_rng(1)
    broken = 0
    for _ in range(300):
        normals = HeldOut(random.normal(size=200).astype(np.float32), None)
        defects = HeldOut(random.normal(1.5, 1, 30).astype(np.float32), None)
        threshold = choose_threshold(normals, defects, Asked())
        broken += float(ndtr(-threshold.value)) > threshold.promise.promised_rate
    assert broken <= 0.05 * 300  # the bound of one threshold alone breaks 30 of these


def test_a_few_more_false_rejects_are_worth_most_of_the_defects() -> None:
    normals = HeldOut(np.append(np.zeros(91), np.full(9, 10.0)).astype(np.float32), None)
    defects = HeldOut(np.append(np.full(4, 20.0), np.full(8, 5.0)).astype(np.float32), None)
    threshold = choose_threshold(normals, defects, Asked())  # one mistake more than at 10, and three times the defects
    assert threshold.value == 0
    assert threshold.promise.tolerated == 9


def test_no_more_than_a_tenth_of_the_normals_is_given_for_defects() -> None:
    normals = HeldOut(np.append(np.zeros(80), np.full(20, 10.0)).astype(np.float32), None)
    defects = HeldOut(np.append(np.full(4, 20.0), np.full(40, 5.0)).astype(np.float32), None)
    assert choose_threshold(normals, defects, Asked()).value == 10


def test_where_groups_are_known_the_lowest_threshold_that_does_about_as_well_is_taken() -> None:
    scores = np.append(np.zeros(90), [5, 15]).astype(np.float32)
    defects = HeldOut(np.full(100, 20, np.float32), None)
    by_group = HeldOut(scores, tuple(str(number // 2) for number in range(len(scores))))
    assert choose_threshold(HeldOut(scores, None), defects, Asked()).value == 5  # below the middle from 0 to 20
    chosen = choose_threshold(by_group, defects, Asked())  # F1 1 at 15, .995 at 5, .990 at 0
    assert (chosen.value, chosen.promise.tolerated) == (0, 2)


def test_chance_that_places_a_few_scores_does_not_place_the_threshold() -> None:
    random = np.random.default_rng(2)
    mistakes = {"picked": 0, "best": 0}
    for _ in range(40):
        normals, defects = (random.normal(centre, 1, (2, 300)).astype(np.float32) for centre in (0, 4))
        known, new = (HeldOut(normals[0], None), HeldOut(defects[0], None)), (normals[1], defects[1])
        thresholds = np.sort(normals[0])[-30:]
        wrong = [(normals[0] > each).sum() + (defects[0] <= each).sum() for each in thresholds]
        for name, value in (
            ("picked", choose_threshold(*known, Asked()).value),
            ("best", float(thresholds[np.argmin(wrong)])),
        ):
            mistakes[name] += int((new[0] > value).sum() + (new[1] <= value).sum())
    assert mistakes["picked"] < mistakes["best"]


def test_between_thresholds_that_do_as_well_none_is_taken_that_does_worse() -> None:
    normals = HeldOut(np.array([5, 4, 2.9, *np.linspace(0, 1, 27)], np.float32), None)
    defects = HeldOut(np.array([*range(6, 24), 3, 3], np.float32), None)
    chosen = choose_threshold(normals, defects, Asked())  # F1 .947 at 5, .923 at 4, .952 at 2.9; the middle is 4.45
    assert chosen.value == np.float32(2.9)


def test_a_threshold_keeps_away_from_a_gap_it_knows_nothing_of() -> None:
    threshold = choose_threshold(NORMALS, FAR, Asked())
    assert threshold.value == NORMALS.scores.max()
    assert threshold.promise.tolerated == 0


def test_defects_that_none_tells_apart_cost_no_false_rejects() -> None:
    by_group = HeldOut(np.arange(100, dtype=np.float32), tuple(str(number // 2) for number in range(100)))
    assert choose_threshold(by_group, HeldOut(np.zeros(10, np.float32), None), Asked()).promise.tolerated == 0


def test_masks_have_a_promise_of_their_own() -> None:
    value, promise = choose_mask_threshold(NORMALS, Asked(false_reject_rate=0.01))
    assert promise.kept
    assert 0 < float((NORMALS.scores > value).mean()) < 0.05
    assert "at most 5.000% of good pictures show a mask" in str(promise)


def test_of_thresholds_as_good_one_is_taken_that_goes_on_rejecting_what_was_rejected() -> None:
    normals = HeldOut(np.append(np.linspace(-1, 0, 46), [2.6, 3]).astype(np.float32), None)
    defects = HeldOut(np.array([2.8, *[8] * 7], np.float32), None)
    at_stake = np.ones(8, np.bool_)
    assert choose_threshold(normals, defects, Asked()).value == np.float32(3)
    assert choose_threshold(normals, defects, Asked(), rejected=~at_stake).value == np.float32(3)
    assert choose_threshold(normals, defects, Asked(), rejected=at_stake).value == np.float32(2.6)
    hopeless = HeldOut(np.array([-0.5, *[8] * 7], np.float32), None)  # no threshold as good would keep the first one
    assert choose_threshold(normals, hopeless, Asked(), rejected=at_stake).value == np.float32(3)
