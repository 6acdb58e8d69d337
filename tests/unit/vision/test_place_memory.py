import numpy as np
import pytest
from numpy.typing import NDArray

from shared.vision.errors import UnusableFeatures
from shared.vision.features import Patches
from shared.vision.place_memory import BORROWED, PlaceMemory


def patches(features: NDArray[np.float32]) -> Patches:
    """Of (N, ..., 1), as exactly as one channel always is."""
    values = np.sign(features).astype(np.int8) * np.int8(127)
    return Patches(values, np.abs(features[..., 0]) / np.float32(127))


def normals(count: int = 400) -> NDArray[np.float32]:
    """(N, 2, 3, 1): one place is usually at 5, and one varies ten times as much as the others."""
    features = np.random.default_rng(0).normal(0, 0.1, (count, 2, 3, 1)).astype(np.float32)
    features[:, 0, 1] += 5
    features[:, 1, 2] *= 10
    return features


def test_a_distance_is_by_how_many_deviations_a_feature_is_above_the_usual_at_its_place() -> None:
    memory = PlaceMemory.of(normals())
    odd = np.zeros((1, 2, 3, 1), np.float32)
    odd[0, :, :, 0] = [[1, 5, -1], [0, 0, 1]]
    found = memory.distances(patches(odd), "place")[0]
    assert found[0, 0] == pytest.approx(10, rel=0.6)
    assert found[0, 1] == pytest.approx(0, abs=0.3)  # as strong a feature as anywhere else would be very odd
    assert found[0, 2] == 0  # what is below the usual is not odd
    assert found[1, 2] < 2


def test_the_largest_channel_counts() -> None:
    memory = PlaceMemory(np.zeros((1, 1, 2), np.float32), np.array([[[1, 2]]], np.float32))
    both = Patches(np.array([[[[100, 100]]]], np.int8), np.full((1, 1, 1), 0.1, np.float32))
    assert memory.distances(both, "place")[0, 0, 0] == pytest.approx(10)


def test_places_in_a_row_are_as_good_as_in_a_grid() -> None:
    memory, some = PlaceMemory.of(normals()), patches(normals(3))
    row = Patches(some.values.reshape(3, 6, 1), some.scales.reshape(3, 6))
    assert np.array_equal(memory.distances(row, "place").reshape(3, 2, 3), memory.distances(some, "place"))


def test_from_few_pictures_a_place_borrows_from_the_others() -> None:
    few = normals(4)
    few[:, 1, 1] = 0.5  # all happen to agree
    shared = few.var(axis=0).mean()
    deviation = PlaceMemory.of(few).deviation[1, 1, 0]
    assert deviation == pytest.approx(np.sqrt(BORROWED / (4 + BORROWED) * shared), rel=1e-4)


def test_features_that_never_vary_are_no_division_by_zero() -> None:
    memory = PlaceMemory.of(np.full((3, 2, 2, 1), 1, np.float32))
    assert np.isfinite(memory.distances(patches(np.full((1, 2, 2, 1), 2, np.float32)), "place")).all()


@pytest.mark.parametrize("shape", [(1, 2, 2, 1), (1, 2, 3, 2), (1, 4, 3, 1)])
def test_another_grid_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UnusableFeatures, match="6 places, 1 channels"):
        PlaceMemory.of(normals()).distances(
            Patches(np.zeros(shape, np.int8), np.zeros(shape[:-1], np.float32)), "place"
        )


@pytest.mark.parametrize(
    ("mean", "deviation"),
    [
        (np.zeros((2, 2), np.float32), np.ones((2, 2), np.float32)),
        (np.zeros((2, 2, 1), np.float32), np.ones((2, 1, 1), np.float32)),
        (np.zeros((2, 2, 1), np.float32), np.zeros((2, 2, 1), np.float32)),
        (np.zeros((2, 2, 1), np.float64), np.ones((2, 2, 1), np.float32)),
    ],
)
def test_arrays_that_are_no_memory_are_refused(mean: NDArray[np.float32], deviation: NDArray[np.float32]) -> None:
    with pytest.raises(ValueError, match="deviations"):
        PlaceMemory(mean, deviation)
