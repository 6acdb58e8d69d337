import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from shared.vision.errors import UnusableFeatures
from shared.vision.features import patches_of, quantise

FINITE = st.floats(-(2.0**100), 2.0**100, width=32)
GRIDS = arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 8)), elements=FINITE)


@given(features=GRIDS)
def test_a_feature_comes_back_within_half_a_scale(features: NDArray[np.float32]) -> None:
    grid = quantise("b12@256/3", features)
    scales = np.frombuffer(grid.scales, "<f4").reshape(*features.shape[:2], 1).astype(np.float64)
    error = np.abs(patches_of(grid).features.astype(np.float64) - features)
    assert (error <= 0.5001 * scales + 1e-37).all()  # below 1e-37 a scale is no longer a normal float32


@given(features=GRIDS)
def test_quantising_again_what_came_back_changes_nothing(features: NDArray[np.float32]) -> None:
    once = patches_of(quantise("b12@256/3", features)).features
    assert np.allclose(patches_of(quantise("b12@256/3", once)).features, once, rtol=1e-5, atol=1e-37)


def test_a_grid_holds_an_eighth_of_a_kilobyte_a_patch_and_its_shape() -> None:
    grid = quantise("b12@256/3", np.ones((8, 8, 192), np.float32))
    assert (grid.layer, grid.height, grid.width, grid.channels) == ("b12@256/3", 8, 8, 192)
    assert (len(grid.values), len(grid.scales)) == (12_288, 256)


def test_every_patch_has_its_own_scale_so_that_a_bright_one_does_not_flatten_the_rest() -> None:
    features = np.array([[[1000.0, -500.0], [0.01, 0.004]]], np.float32)
    assert patches_of(quantise("x", features)).features == pytest.approx(features, rel=0.01)


def test_a_patch_of_zeros_stays_zero() -> None:
    assert not patches_of(quantise("x", np.zeros((2, 2, 4), np.float32))).features.any()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_no_numbers_are_refused(value: float) -> None:
    features = np.ones((2, 2, 4), np.float32)
    features[1, 1, 2] = value
    with pytest.raises(UnusableFeatures, match="layer x gave features that are not finite"):
        quantise("x", features)


@pytest.mark.parametrize("scale", [np.nan, np.inf, -0.5])
def test_a_grid_with_a_scale_that_cannot_be_is_refused(scale: float) -> None:
    grid = quantise("x", np.ones((2, 2, 4), np.float32))
    scales = np.array([1, scale, 1, 1], "<f4").tobytes()
    with pytest.raises(UnusableFeatures, match="negative or not finite"):
        patches_of(dataclasses.replace(grid, scales=scales))


@pytest.mark.parametrize("change", [{"height": 3}, {"values": b""}, {"scales": b"\0"}])
def test_a_grid_whose_bytes_do_not_fit_its_shape_is_refused(change: dict[str, object]) -> None:
    grid = dataclasses.replace(quantise("x", np.ones((2, 2, 4), np.float32)), **change)  # type: ignore[arg-type]
    with pytest.raises(UnusableFeatures, match="grid x of"):
        patches_of(grid)
