import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from shared.vision.anomaly_map import fuse, lower, upsample

COARSE = arrays(np.float32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.floats(-50, 50, width=32))


@given(coarse=COARSE, height=st.integers(16, 60), width=st.integers(16, 60))
def test_upsampling_goes_beyond_no_extreme(coarse: NDArray[np.float32], height: int, width: int) -> None:
    pixels = upsample(coarse, height, width)
    assert pixels.shape == (height, width)
    assert pixels.dtype == np.float32
    assert pixels.min() >= coarse.min() - 1e-3
    assert pixels.max() <= coarse.max() + 1e-3


@given(coarse=COARSE, height=st.integers(16, 60), width=st.integers(16, 60))
def test_a_mirrored_picture_has_a_mirrored_map(coarse: NDArray[np.float32], height: int, width: int) -> None:
    pixels = upsample(coarse, height, width)
    assert upsample(coarse[:, ::-1].copy(), height, width)[:, ::-1] == pytest.approx(pixels, abs=1e-3)
    assert upsample(coarse[::-1].copy(), height, width)[::-1] == pytest.approx(pixels, abs=1e-3)
    assert pytest.approx(pixels, abs=1e-3) == upsample(coarse.T.copy(), width, height).T


@pytest.mark.parametrize(("height", "width"), [(64, 64), (100, 37), (48, 320), (1000, 700)])
@pytest.mark.parametrize("side", [8, 16, 17, 40])
def test_a_map_lies_on_its_picture_to_a_hundredth_of_a_pixel(height: int, width: int, side: int) -> None:
    """A map that grows by one from pixel to pixel still does away from the edges, where nothing is beyond it."""
    places = (np.arange(side) + 0.5) / side * width
    pixels = upsample(np.tile(places, (side, 1)).astype(np.float32), height, width)
    inner = slice(width // 4, -(width // 4))
    assert pixels[height // 2, inner] == pytest.approx((np.arange(width) + 0.5)[inner], abs=0.01)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (3, 5), (7, 7)])
def test_a_patch_lights_up_the_pixels_that_it_looked_at(row: int, column: int) -> None:
    coarse = np.zeros((8, 8), np.float32)
    coarse[row, column] = 1
    pixels = upsample(coarse, 80, 240)
    top, left = np.unravel_index(np.argmax(pixels), pixels.shape)
    assert (top // 10, left // 30) == (row, column)


def test_layers_meet_at_the_finest_grid() -> None:
    coarse, fine = np.full((2, 4, 4), 2, np.float32), np.full((2, 8, 8), 4, np.float32)
    fused = fuse([coarse, fine])
    assert fused.shape == (2, 8, 8)
    assert fused == pytest.approx(3)


def test_a_layer_counts_by_its_weight() -> None:
    low, high = np.full((1, 4, 4), 2, np.float32), np.full((1, 4, 4), 4, np.float32)
    assert fuse([low, high], [3, 1]) == pytest.approx(2.5)


def test_maps_are_lowered_by_a_share_of_their_own_medians() -> None:
    coarse = np.zeros((2, 3, 3), np.float32)
    coarse[0] = 5
    coarse[0, 0, 0], coarse[1, 2, 2] = 9, 4
    lowered = lower(coarse, 0.4)
    assert lowered.dtype == np.float32
    assert lowered[0, 0, 0] == 7
    assert lowered[0, 1, 1] == 3
    assert np.array_equal(lowered[1], coarse[1])
    assert np.array_equal(lower(coarse, 0), coarse)
