import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from shared.events import Mask
from shared.vision.errors import UnusableMask
from shared.vision.mask import MAX_REGIONS, decode, encode, outline


@given(pixels=arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_runs_decode_to_the_mask_they_were_made_from(pixels: NDArray[np.uint8]) -> None:
    mask = encode(pixels)
    assert (mask.height, mask.width) == pixels.shape
    assert mask.counts.isascii()
    np.testing.assert_array_equal(decode(mask), pixels != 0)


def test_regions_are_boxed_in_pixels_with_area_and_peak_highest_first() -> None:
    pixels = np.zeros((100, 200), np.float32)
    pixels[10:20, 30:60] = 2
    pixels[70:75, 150:160] = 3
    pixels[72, 155] = 9
    mask, regions = outline(pixels, 1)
    first, second = regions
    assert (first.x, first.y, first.width, first.height, first.area, first.peak) == (150, 70, 10, 5, 50, 9)
    assert (second.x, second.y, second.width, second.height, second.area, second.peak) == (30, 10, 30, 10, 300, 2)
    assert mask is not None
    assert decode(mask).sum() == 350


def test_parts_that_touch_at_a_corner_are_one_region() -> None:
    pixels = np.zeros((20, 20), np.float32)
    pixels[5, 5] = pixels[6, 6] = 1
    assert len(outline(pixels, 0.5)[1]) == 1


def test_specks_are_left_out_of_regions_and_mask() -> None:
    pixels = np.zeros((300, 300), np.float32)
    pixels[5, 5] = 9
    pixels[100:110, 100:110] = 2
    mask, regions = outline(pixels, 1)
    assert [region.area for region in regions] == [100]
    assert mask is not None
    assert decode(mask)[5, 5] == 0


def test_nothing_above_the_threshold_is_no_mask() -> None:
    assert outline(np.full((50, 50), 2, np.float32), 2) == (None, ())


def test_regions_are_bounded_and_the_mask_holds_all() -> None:
    pixels = np.zeros((60, 60), np.float32)
    pixels[::2, ::2] = 1
    mask, regions = outline(pixels, 0.5)
    assert len(regions) == MAX_REGIONS
    assert mask is not None
    assert decode(mask).sum() == 900


@pytest.mark.parametrize(
    ("height", "width", "counts", "why"),
    [
        (0, 4, "4", "0 x 4 pixels"),
        (1 << 20, 1 << 20, "4", "at most"),
        (2, 2, "3", "runs of 3 pixels are no mask of 2 x 2"),
        (2, 2, "", "runs of 0 pixels"),
        (2, 2, "o", "end in the middle"),
        (2, 2, "4oooooooo", "no compressed COCO runs"),
        (2, 2, "4 ", "no compressed COCO runs"),
        (2, 2, "p", "no compressed COCO runs"),
        (2, 2, "é", "no compressed COCO runs"),
        (2, 2, "@4", "a run of -16 pixels"),
    ],
)
def test_runs_that_are_no_mask_of_their_size_are_refused(height: int, width: int, counts: str, why: str) -> None:
    with pytest.raises(UnusableMask, match=why):
        decode(Mask(height=height, width=width, counts=counts))
