"""What is normal at each place of a product that always lies the same way: a mean and a deviation a place."""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from shared.vision.errors import UnusableFeatures
from shared.vision.features import Patches
from shared.vision.recipe import Metric

# Pictures that each place's variance counts as having seen besides its own, of the mean variance of all places: from
# few pictures, a place where all happen to agree would find everything odd.
BORROWED = 10
LEAST_DEVIATION = 1e-6


@dataclass(frozen=True, eq=False)
class PlaceMemory:
    """Takes the place of a memory bank where a layer's metric is ``place``."""

    mean: NDArray[np.float32]
    """(h, w, C) of normal pictures' features."""
    deviation: NDArray[np.float32]
    """(h, w, C), above zero."""

    def __post_init__(self) -> None:
        if self.mean.ndim != 3 or not self.mean.size or self.mean.shape != self.deviation.shape:
            raise ValueError(f"means {self.mean.shape} with deviations {self.deviation.shape}: both are (h, w, C)")
        if {self.mean.dtype, self.deviation.dtype} != {np.dtype(np.float32)} or not (self.deviation > 0).all():
            raise ValueError("means and deviations of places are float32, and deviations above zero")

    @classmethod
    def of(cls, features: NDArray[np.float32]) -> Self:
        """From (N, h, w, C) features of normals."""
        variance = features.var(axis=0, dtype=np.float64)
        shared = variance.mean(axis=(0, 1))
        variance = (len(features) * variance + BORROWED * shared) / (len(features) + BORROWED)
        deviation = np.maximum(np.sqrt(variance), LEAST_DEVIATION).astype(np.float32)
        return cls(features.mean(axis=0, dtype=np.float64).astype(np.float32), deviation)

    @property
    def channels(self) -> int:
        """Of the features that it reads."""
        return int(self.mean.shape[2])

    @property
    def numbers(self) -> int:
        """How many it consists of."""
        return 2 * int(self.mean.size)

    def distances(self, patches: Patches, metric: Metric) -> NDArray[np.float32]:  # noqa: ARG002 - a bank's
        """By how many deviations each patch's largest channel is above what is usual there, or 0 where none is.

        Args:
            patches: (N, ..., C), all places of N pictures in their order.
            metric: ``place``.

        Returns:
            (N, ...) float32.

        Raises:
            UnusableFeatures: they are of another grid.
        """
        shape = patches.values.shape
        places = self.mean.size // self.channels
        if len(shape) < 2 or shape[-1] != self.channels or math.prod(shape[1:]) != self.mean.size:
            raise UnusableFeatures(f"features {shape} do not fit a memory of {places} places, {self.channels} channels")
        features = patches.features.reshape(-1, places, self.channels)
        above = (features - self.mean.reshape(places, -1)) / self.deviation.reshape(places, -1)
        largest: NDArray[np.float32] = above.max(axis=-1)
        return np.maximum(largest, np.float32(0)).reshape(shape[:-1])
