"""Patch features on the wire: int8 with a scale a patch, a quarter of float32's bytes."""

import numpy as np
from numpy.typing import NDArray

from shared.events import FeatureGrid
from shared.vision.errors import UnusableFeatures

_LARGEST = 127  # int8, kept symmetric: -128 is never used
_SCALE = np.dtype("<f4")


def quantise(layer_name: str, features: NDArray[np.float32]) -> FeatureGrid:
    """A layer's features, float32 (height, width, channels), as the grid that travels.

    Each patch's largest magnitude becomes 127; the error is at most half a scale a feature. A patch of zeros stays so.

    Raises:
        UnusableFeatures: a feature is not finite.
    """
    height, width, channels = features.shape
    peaks = np.abs(features).max(axis=2)
    if not np.isfinite(peaks).all():
        raise UnusableFeatures(f"layer {layer_name} gave features that are not finite; check the backbone's weights")
    scales = (peaks / _LARGEST).astype(_SCALE)
    # A peak so small that its scale underflows to zero is as good as no feature.
    values = np.rint(features / np.where(scales > 0, scales, np.inf)[:, :, None])
    return FeatureGrid(
        layer=layer_name,
        height=height,
        width=width,
        channels=channels,
        values=np.clip(values, -_LARGEST, _LARGEST).astype(np.int8).tobytes(),
        scales=scales.tobytes(),
    )


def dequantise(grid: FeatureGrid) -> NDArray[np.float32]:
    """The features of a grid, float32 (height, width, channels).

    Raises:
        UnusableFeatures: the bytes do not fit the grid's shape.
    """
    shape = (grid.height, grid.width, grid.channels)
    patches = grid.height * grid.width
    if len(grid.values) != patches * grid.channels or len(grid.scales) != patches * _SCALE.itemsize:
        raise UnusableFeatures(
            f"grid {grid.layer} of {shape} holds {len(grid.values)} values and {len(grid.scales)} bytes of scales; "
            f"expected {patches * grid.channels} and {patches * _SCALE.itemsize}"
        )
    values = np.frombuffer(grid.values, np.int8).reshape(shape).astype(np.float32)
    scales = np.frombuffer(grid.scales, _SCALE).reshape(*shape[:2], 1)
    return values * scales
