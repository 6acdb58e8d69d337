"""Which pixels are anomalous: threshold, small components removed, COCO run-length encoding, regions."""

import warnings

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from shared.events import Mask, Region

MIN_AREA_FRACTION = 1e-4  # of the picture: smaller specks are the rim of a peak just above the threshold
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


def decode(mask: Mask) -> NDArray[np.uint8]:
    """The (height, width) uint8 mask of 0 and 1 that `encode` made the runs from."""
    runs = {"size": [mask.height, mask.width], "counts": mask.counts.encode("ascii")}
    with warnings.catch_warnings():
        # pycocotools 2.0.11 predates a keyword that numpy 2 asks array classes to take; the result is right.
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        return np.ascontiguousarray(coco.decode(runs), dtype=np.uint8)
