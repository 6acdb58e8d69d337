"""Where on the patches' grid known defects lie, as far as masks show it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from services.trainer.material.pictures import read_mask

SOUND, UNTOLD, DEFECTIVE = -1, 0, 1
"""A patch without a defect, one of a picture that does not say where its defect is, one with a defect or beside it."""

# A patch sees beyond itself, the more so in a late layer: one beside a defect is no example of what is sound.
NEIGHBOURS = np.ones((3, 3), np.uint8)

Places: TypeAlias = Callable[[int], NDArray[np.int8]]
"""From patches a side to (N, side, side): what each patch of N pictures is known to be."""


def known_places(
    normals: int, masks: Sequence[Path | None], sizes: Sequence[tuple[int, int]], side: int
) -> NDArray[np.int8]:
    """(normals + A, side, side) int8: normals first, which are sound everywhere, then A defective pictures.

    Args:
        normals: how many.
        masks: of each defective picture, None where it has none. A black one says as little.
        sizes: (height, width) of each defective picture, pixels.
        side: of the grid, patches.

    Raises:
        UnusableMasks: a mask cannot be read.
    """
    places = np.full((normals + len(masks), side, side), UNTOLD, np.int8)
    places[:normals] = SOUND
    for of_picture, mask, (height, width) in zip(places[normals:], masks, sizes, strict=True):
        if mask and (defective := read_mask(mask, height, width)).any():
            covered = cv2.resize(defective.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA) > 0
            seen = cv2.dilate(covered.astype(np.uint8), NEIGHBOURS)
            of_picture[:] = np.where(seen, DEFECTIVE, SOUND)
    return places
