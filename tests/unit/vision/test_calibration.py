import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.vision.calibration import (
    PATCH_STD_FLOOR,
    SCORE_STD_FLOOR,
    LayerCalibration,
    PlaceSpread,
    Spread,
    top_mean,
)


def test_equal_distances_spread_over_the_noise_floor() -> None:
    calibration = LayerCalibration.of(np.full((2, 8, 8), 0.1, np.float32), 0.03)
    assert calibration.patch.std == min(calibration.place.stds) == PATCH_STD_FLOOR
    assert calibration.score.std == SCORE_STD_FLOOR
    assert calibration.scores(np.full((1, 8, 8), 0.1, np.float32), 0.03) == pytest.approx(0, abs=1e-3)


def test_a_spread_standardises_what_it_was_taken_from() -> None:
    values = np.random.default_rng(0).normal(5, 3, 400).astype(np.float32)
    standardised = Spread.of(values, 0.1).standardise(values)
    assert standardised.mean() == pytest.approx(0, abs=1e-4)
    assert standardised.std() == pytest.approx(1, abs=1e-4)


def make_distances(pictures: int, seed: int = 0) -> NDArray[np.float32]:
    """Distances on a 16 x 16 grid, twice as large and as spread in the lower half."""
    distances = np.random.default_rng(seed).normal(1, 0.1, (pictures, 16, 16))
    distances[:, 8:] *= 2
    return distances.astype(np.float32)


def test_with_many_normals_every_place_is_standardised_by_its_own() -> None:
    standardised = PlaceSpread.of(make_distances(5000)).standardise(make_distances(500, seed=1))
    for half in (standardised[:, :4], standardised[:, 12:]):  # between them one expectation goes over into the other
        assert half.mean() == pytest.approx(0, abs=0.15)
        assert half.std() == pytest.approx(1, abs=0.15)


def test_with_few_normals_a_place_is_expected_to_be_like_the_whole() -> None:
    few, many = (PlaceSpread.of(make_distances(pictures)) for pictures in (2, 500))
    assert np.ptp(few.means) < 0.3 * np.ptp(many.means)
    assert np.mean(few.means) == pytest.approx(np.mean(many.means), rel=0.05)


@given(height=st.integers(1, 20), width=st.integers(1, 20))
def test_any_grid_is_standardised_and_a_flat_one_everywhere_alike(height: int, width: int) -> None:
    distances = np.random.default_rng(0).random((30, height, width), np.float32)
    standardised = PlaceSpread.of(distances).standardise(distances)
    assert standardised.shape == distances.shape
    assert np.isfinite(standardised).all()
    same = PlaceSpread(rows=1, columns=1, means=(0.5,), stds=(0.25,)).standardise(distances)
    assert same == pytest.approx((distances - 0.5) / 0.25, abs=1e-5)


@pytest.mark.parametrize(("length", "expected"), [(1, [1.5]), (2, [1, 2]), (4, [1, 1.25, 1.75, 2])])
def test_what_is_expected_goes_over_between_the_centres_of_cells(length: int, expected: list[float]) -> None:
    flat = np.zeros((1, length, length), np.float32)
    down = PlaceSpread(rows=2, columns=1, means=(1, 2), stds=(1, 1)).standardise(flat)
    across = PlaceSpread(rows=1, columns=2, means=(1, 2), stds=(1, 1)).standardise(flat)
    np.testing.assert_allclose(-down[0, :, 0], expected)
    np.testing.assert_allclose(-across[0, 0], expected)


@pytest.mark.parametrize(("fraction", "expected"), [(0.01, 99), (0.03, 98), (0.05, 97), (1.0, 49.5)])
def test_the_top_mean_is_over_the_largest_and_one_at_least(fraction: float, expected: float) -> None:
    distances = np.random.default_rng(0).permutation(100).reshape(1, 10, 10).astype(np.float32)
    assert top_mean(distances, fraction) == pytest.approx([expected])


@pytest.mark.parametrize("std", [0.0, -1.0])
def test_by_a_deviation_that_is_none_nothing_is_standardised(std: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        Spread(mean=0, std=std)
    with pytest.raises(ValueError, match="above 0"):
        PlaceSpread(rows=1, columns=2, means=(0.0, 0.0), stds=(1.0, std))
