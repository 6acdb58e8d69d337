import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import beta, binom, norm

from services.trainer.promise.promise import Evidence, normals_needed, promised_threshold

Groups = tuple[NDArray[np.float32], list[str]]


def grouped(groups: int, size: int, correlation: float, seed: int) -> Groups:
    """Normally distributed scores of pictures that resemble their group's others."""
    random = np.random.default_rng(seed)
    own, shared = random.standard_normal((groups, size)), random.standard_normal((groups, 1))
    scores = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own
    return scores.ravel().astype(np.float32), [f"g{group}" for group in range(groups) for _ in range(size)]


def test_299_normals_promise_one_percent_by_their_largest_score_and_298_do_not() -> None:
    assert normals_needed(0.01) == 299
    scores = np.arange(299, dtype=np.float32)
    threshold, promise = promised_threshold(scores, 0.01)
    assert (threshold, promise.kept, promise.tolerated) == (298, True, 0)
    _, promise = promised_threshold(scores[:298], 0.01)
    assert not promise.kept


@given(number=st.integers(2, 2000), rate=st.sampled_from([0.005, 0.01, 0.05, 0.2]))
def test_the_threshold_is_the_lowest_that_keeps_the_promise(number: int, rate: float) -> None:
    scores = np.random.default_rng(number).permutation(number).astype(np.float32)
    threshold, promise = promised_threshold(scores, rate)
    above = int((scores > threshold).sum())
    assert promise.tolerated == above
    if promise.kept:  # at least above + 1 of n beyond the rate is what must be improbable
        assert binom.sf(above, number, rate) >= 0.95 > binom.sf(above + 1, number, rate)
    else:  # in the mean, one new score in so many is above it
        assert above == 0 or (above + 1) / (number + 1) <= rate + 1e-9
        assert promise.promised_rate == pytest.approx(beta.ppf(0.95, above + 1, number - above), abs=1e-5)


def test_the_promise_is_kept_nineteen_times_in_twenty() -> None:
    random = np.random.default_rng(0)
    # A uniform score above the threshold t has probability 1 - t: no second sample is needed to know the true rate.
    rates = [1 - promised_threshold(random.random(500, np.float32), 0.05)[0] for _ in range(1000)]
    assert np.mean(np.array(rates) > 0.05) < 0.07
    assert np.mean(rates) > 0.02  # and it is not bought by rejecting nothing


@pytest.mark.parametrize("evidence", [Evidence(10, None, 10), Evidence(10, 5, 5.0)])
def test_where_all_pictures_lie_beyond_the_threshold_nothing_can_be_promised(evidence: Evidence) -> None:
    assert evidence.lowest_rate(0.95, 10) == 1


@pytest.mark.parametrize("number", [1, 2, 5, 19])
def test_few_normals_get_their_largest_score_and_are_told_what_it_promises(number: int) -> None:
    threshold, promise = promised_threshold(np.arange(number, dtype=np.float32), 0.01)
    assert threshold == number - 1
    assert f"{number} good pictures are too few to promise a false-reject rate of 1.000%" in str(promise)
    assert "299 pictures would do" in str(promise)


@pytest.mark.parametrize("correlation", [0.1, 0.3, 0.6])
@pytest.mark.parametrize(("groups", "size"), [(40, 20), (100, 5)])
def test_among_alike_pictures_the_promise_holds_for_new_groups(groups: int, size: int, correlation: float) -> None:
    rate, confidence, broken, promised = 0.05, 0.9, 0, 0
    for seed in range(60):
        scores, names = grouped(groups, size, correlation, seed)
        threshold, promise = promised_threshold(scores, rate, confidence, groups=names)
        promised += promise.kept
        broken += promise.kept and norm.sf(threshold) > rate
    assert broken <= 60 * (1 - confidence)
    assert promised > 50 or correlation > 0.5


@pytest.mark.parametrize("correlation", [0.1, 0.3])
def test_a_run_of_ten_new_groups_keeps_the_rate_nine_times_in_ten(correlation: float) -> None:
    broken = 0
    for seed in range(100):
        scores, names = grouped(40, 20, correlation, seed)
        threshold, promise = promised_threshold(scores, 0.05, 0.9, groups=names)
        run, _ = grouped(10, 20, correlation, 1000 + seed)
        broken += promise.kept and float((run > threshold).mean()) > 0.05
    assert broken <= 10


def test_a_run_of_groups_that_come_in_pairs_keeps_the_rate_nine_times_in_ten() -> None:
    def in_pairs(groups: int, seed: int) -> NDArray[np.float32]:
        random = np.random.default_rng(seed)
        own = random.standard_normal((groups // 2, 2, 20))
        return (own + 0.7 * random.exponential(size=(groups // 2, 1, 1))).ravel().astype(np.float32)

    names = [f"g{group}" for group in range(40) for _ in range(20)]
    broken, kept = 0, 0
    for seed in range(200):
        threshold, promise = promised_threshold(in_pairs(40, seed), 0.05, 0.9, groups=names)
        kept += promise.kept
        broken += promise.kept and float((in_pairs(10, 1000 + seed) > threshold).mean()) > 0.05
    assert broken <= 20
    assert kept > 140


def test_counting_every_picture_for_itself_would_break_the_promise() -> None:
    broken = 0
    for seed in range(60):
        scores, _ = grouped(20, 50, 0.5, seed)
        threshold, _ = promised_threshold(scores, 0.05, 0.9)
        broken += norm.sf(threshold) > 0.05
    assert broken > 60 * 0.2


def test_groups_of_identical_pictures_count_as_one_picture_each() -> None:
    scores = np.repeat(np.random.default_rng(0).random(60, np.float32), 30)
    evidence = Evidence.of(scores, [str(group) for group in range(60) for _ in range(30)], 0.05, 0.9)
    assert evidence.groups == 60
    assert 50 < evidence.effective <= 60


def test_groups_of_one_picture_are_no_groups() -> None:
    scores = np.random.default_rng(0).random(300, np.float32)
    alone = promised_threshold(scores, 0.01)
    assert promised_threshold(scores, 0.01, groups=[str(picture) for picture in range(300)]) == alone
    assert alone[1].groups is None


def test_pictures_of_one_group_promise_no_more_than_one_picture() -> None:
    _, promise = promised_threshold(np.arange(100, dtype=np.float32), 0.05, groups=["only"] * 100)
    assert promise.effective == 1
    assert not promise.kept


@settings(max_examples=25, deadline=None)
@given(
    groups=st.integers(2, 30),
    size=st.integers(1, 30),
    correlation=st.floats(0, 0.95),
    rate=st.sampled_from([0.01, 0.05, 0.2]),
)
def test_a_promise_says_what_the_data_can_carry(groups: int, size: int, correlation: float, rate: float) -> None:
    scores, names = grouped(groups, size, correlation, groups * size)
    threshold, promise = promised_threshold(scores, rate, 0.9, groups=names)
    assert promise.tolerated == int((scores > threshold).sum())
    assert 0 < promise.promised_rate <= 1
    if not promise.kept:
        assert promise.lowest_rate is not None
        assert rate < promise.lowest_rate <= promise.promised_rate + 1e-9
        assert promise.needed is not None
        assert promise.needed > (promise.groups or promise.pictures)
    json.dumps(asdict(promise))


@pytest.mark.parametrize("groups", [2, 10, 30])
def test_even_odds_discount_few_groups_as_odds_just_above_them_do(groups: int) -> None:
    scores, names = grouped(groups, 20, 0.2, 0)
    even, above, surer = (Evidence.of(scores, names, 0.01, level).effective for level in (0.5, 0.501, 0.6))
    assert even == pytest.approx(above, rel=1e-3)
    assert even > surer


@pytest.mark.parametrize("groups", [2, 10, 30])
def test_a_promise_at_even_odds_says_how_many_groups_it_needs(groups: int) -> None:
    scores, names = grouped(groups, 2, 0.2, 0)
    _, promise = promised_threshold(scores, 0.001, 0.5, groups=names)
    assert promise.needed is not None
    assert promise.needed > groups


@pytest.mark.parametrize("effective", [0.0, -1.0, float("nan"), 101.0])
def test_evidence_worth_nothing_or_more_than_its_pictures_is_refused(effective: float) -> None:
    with pytest.raises(ValueError, match="100 pictures are worth"):
        Evidence(100, 10, effective)


def test_an_unkept_promise_names_groups_what_they_carry_and_how_many_would_do() -> None:
    scores, names = grouped(30, 20, 0.2, 0)
    _, promise = promised_threshold(scores, 0.01, 0.9, groups=names)
    assert "600 good pictures in 30 groups, worth" in str(promise)
    assert f"about {promise.needed} groups would do" in str(promise)
