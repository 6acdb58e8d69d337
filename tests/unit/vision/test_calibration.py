import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from shared.vision.calibration import STD_FLOOR, Spread, normals_needed, promised_threshold


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
    else:
        assert above == 0
        assert (1 - promise.promised_rate) ** number == pytest.approx(0.05)


def test_the_promise_is_kept_nineteen_times_in_twenty() -> None:
    random = np.random.default_rng(0)
    # A uniform score above the threshold t has probability 1 - t: no second sample is needed to know the true rate.
    rates = [1 - promised_threshold(random.random(500, np.float32), 0.05)[0] for _ in range(2000)]
    assert np.mean(np.array(rates) > 0.05) < 0.06
    assert np.mean(rates) > 0.02  # and it is not bought by rejecting nothing


@pytest.mark.parametrize("number", [1, 2, 5, 19])
def test_few_normals_get_their_largest_score_and_are_told_what_it_promises(number: int) -> None:
    threshold, promise = promised_threshold(np.arange(number, dtype=np.float32), 0.01)
    assert threshold == number - 1
    assert f"{number} normal pictures are too few to promise a false-reject rate of 1.000%" in str(promise)
    assert "299 would do" in str(promise)


def test_equal_values_spread_over_the_noise_floor() -> None:
    spread = Spread.of(np.full(5, 0.1, np.float32))
    assert spread.std == STD_FLOOR
    assert spread.standardise(np.array([0.1], np.float32)) == pytest.approx(0, abs=1e-4)


def test_a_promise_is_plain_json() -> None:
    scores = np.arange(400, dtype=np.float32)
    threshold, promise = promised_threshold(scores, 0.01)
    json.dumps([threshold, asdict(promise)])
