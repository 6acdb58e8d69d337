"""Patch features on the wire: int8 with a scale a patch, a quarter of float32's bytes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.events import FeatureGrid
from shared.vision.errors import UnusableFeatures

_LARGEST = 127  # int8, kept symmetric: -128 is never used
_SCALE = np.dtype("<f4")


@dataclass(frozen=True, eq=False)
class Patches:
    """Quantised features of patches: feature = value x scale. What is compared are these whole numbers."""

    values: NDArray[np.int8]
    """(..., C)."""
    scales: NDArray[np.float32]
    """(...)."""

    @property
    def features(self) -> NDArray[np.float32]:
        """(..., C)."""
        return self.values.astype(np.float32) * self.scales[..., None]

    @classmethod
    def stacked(cls, patches: Sequence["Patches"]) -> "Patches":
        """Of pictures with grids of one shape, along a new first axis."""
        return cls(np.stack([each.values for each in patches]), np.stack([each.scales for each in patches]))


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


def patches_of(grid: FeatureGrid) -> Patches:
    """The patches of a grid, (height, width, channels).

    Raises:
        UnusableFeatures: the bytes do not fit the grid's shape, or a scale is negative or not finite.
    """
    shape = (grid.height, grid.width, grid.channels)
    patches = grid.height * grid.width
    if len(grid.values) != patches * grid.channels or len(grid.scales) != patches * _SCALE.itemsize:
        raise UnusableFeatures(
            f"grid {grid.layer} of {shape} holds {len(grid.values)} values and {len(grid.scales)} bytes of scales; "
            f"expected {patches * grid.channels} and {patches * _SCALE.itemsize}"
        )
    scales = np.frombuffer(grid.scales, _SCALE).reshape(shape[:2])
    if not np.isfinite(scales).all() or (scales < 0).any():
        raise UnusableFeatures(f"grid {grid.layer} has scales that are negative or not finite: extract it again")
    return Patches(np.frombuffer(grid.values, np.int8).reshape(shape), scales)
