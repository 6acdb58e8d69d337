"""Which pixels are anomalous: threshold, small components removed, COCO run-length encoding, regions."""

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from shared.events import Mask, Region
from shared.vision.errors import UnusableMask

MIN_AREA_FRACTION = 1e-4  # of the picture: smaller specks are the rim of a peak just above the threshold
MAX_PIXELS = 1 << 27  # of a mask that is read: three times the largest picture that is inspected
_FIRST, _MORE, _SIGN, _LONGEST = 48, 0x20, 0x10, 30  # see `_runs`; a run has fewer than 2^31 pixels
MAX_REGIONS = 100  # keeps the event small; the mask itself holds all of them


def outline(pixels: NDArray[np.float32], threshold: float) -> tuple[Mask | None, tuple[Region, ...]]:
    """Mask and regions of one picture.

    Args:
        pixels: (height, width) float32 anomaly map at the picture's own size.
        threshold: a pixel above it is anomalous.

    Returns:
        The mask (None where no region is left) and its 8-connected regions, highest peak first, at most
        `MAX_REGIONS`.
    """
    above = (pixels > threshold).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(above, connectivity=8)
    smallest = MIN_AREA_FRACTION * pixels.size
    regions = []
    for label in range(1, count):
        x, y, width, height, area = (int(value) for value in stats[label])
        window = (slice(y, y + height), slice(x, x + width))
        inside = labels[window] == label
        if area < smallest:
            above[window][inside] = 0
            continue
        peak = float(pixels[window][inside].max())
        regions.append(Region(x=x, y=y, width=width, height=height, area=area, peak=peak))
    if not regions:
        return None, ()
    regions.sort(key=lambda region: (-region.peak, region.y, region.x))
    return encode(above), tuple(regions[:MAX_REGIONS])


def encode(pixels: NDArray[np.uint8]) -> Mask:
    """COCO run-length encoding of a (height, width) uint8 mask; what is not 0 is inside."""
    encoded = coco.encode(np.asfortranarray(pixels != 0).view(np.uint8))
    height, width = pixels.shape
    return Mask(height=height, width=width, counts=encoded["counts"].decode("ascii"))


def decode(mask: Mask, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """The (height, width) uint8 mask of 0 and 1 that `encode` made the runs from.

    Not by pycocotools, which trusts the text: it reads on behind an end that comes too early.

    Raises:
        UnusableMask: the runs are not those of a mask of that size, or it has more than ``max_pixels``.
    """
    if mask.height < 1 or mask.width < 1 or mask.height * mask.width > max_pixels:
        raise UnusableMask(f"a mask of {mask.height} x {mask.width} pixels: at least one, and at most {max_pixels}")
    runs = _runs(mask.counts)
    if (total := sum(runs)) != mask.height * mask.width:
        raise UnusableMask(f"runs of {total} pixels are no mask of {mask.height} x {mask.width}: read the event again")
    inside = np.arange(len(runs), dtype=np.uint8) % 2  # the first run lies outside
    return np.ascontiguousarray(np.repeat(inside, runs).reshape(mask.width, mask.height).T)


def _runs(counts: str) -> list[int]:
    """Lengths of the runs in COCO's compressed text: groups of five bits and a sixth for more, from character 48 on,
    the sign in the last group; from the fourth run on as the difference to the run two before.
    """
    runs: list[int] = []
    number = shift = 0
    for character in counts:
        group = ord(character) - _FIRST
        if not 0 <= group < 2 * _MORE or shift > _LONGEST:
            raise UnusableMask(f"{character!r} in the runs of a mask, {counts!r:.80}: they are no compressed COCO runs")
        number |= (group & (_MORE - 1)) << shift
        shift += 5
        if group & _MORE:
            continue
        if group & _SIGN:
            number -= 1 << shift
        runs.append(number + runs[-2] if len(runs) > 2 else number)
        if runs[-1] < 0:
            raise UnusableMask(f"a run of {runs[-1]} pixels in a mask, {counts!r:.80}")
        number = shift = 0
    if shift:
        raise UnusableMask(f"the runs of a mask end in the middle of one: {counts!r:.80}")
    return runs
