"""From patch distances to a map over the picture's pixels."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

MAP_SIDE = 256  # side of the square the map is smoothed on: finer than any grid of patches
SMOOTHING = 4.0  # standard deviation of the Gaussian on that square: half a patch of the finest usual grid


def fuse(layers: Sequence[NDArray[np.float32]], weights: Sequence[float] | None = None) -> NDArray[np.float32]:
    """One coarse map from the layers' standardised ones, at the finest grid among them.

    Args:
        layers: (N, h, w) float32 each, grids may differ.
        weights: one a layer, not negative and not all zero; None weighs them alike.

    Returns:
        (N, h, w) float32, the mean over layers.
    """
    height, width = max(layer.shape[1:] for layer in layers)
    resized = [layer if layer.shape[1:] == (height, width) else _resize_all(layer, height, width) for layer in layers]
    return np.average(resized, axis=0, weights=weights).astype(np.float32)


def lower(coarse: NDArray[np.float32], level: float) -> NDArray[np.float32]:
    """Coarse maps (N, h, w), each lowered by the share `level` of its own median.

    A picture that is darker or less sharp than all others is odd everywhere: that may well be a defect, and is in its
    score, but says little of where it lies.
    """
    return coarse - np.float32(level) * np.median(coarse, axis=(1, 2), keepdims=True).astype(np.float32)


def smooth(coarse: NDArray[np.float32]) -> NDArray[np.float32]:
    """A coarse map (h, w) on the square of `MAP_SIDE`: bilinear, then Gaussian; never beyond its extremes."""
    square = cv2.resize(coarse, (MAP_SIDE, MAP_SIDE), interpolation=cv2.INTER_LINEAR)
    return _float32(cv2.GaussianBlur(square, (0, 0), SMOOTHING, borderType=cv2.BORDER_REPLICATE))


def upsample(coarse: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """The map at the picture's own size.

    Args:
        coarse: (h, w) float32.
        height: of the picture, pixels.
        width: of the picture, pixels.

    Returns:
        (height, width) float32; like `smooth`, never beyond the coarse map's extremes.
    """
    return _float32(cv2.resize(smooth(coarse), (width, height), interpolation=cv2.INTER_LINEAR))


def _resize_all(maps: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    return np.stack([_float32(cv2.resize(one, (width, height), interpolation=cv2.INTER_LINEAR)) for one in maps])


def _float32(array: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(array, np.float32)
