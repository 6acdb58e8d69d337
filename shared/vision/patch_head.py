"""What pictures of defects taught of single patches: a network that finds the known defects wherever they lie.

The head (`shared.vision.head`) sees a picture as a whole, this one patch by patch, in all of the recipe's layers at
once. Pictures say only that a defect is there, not where: a picture is as defective as its most defective patches,
and these are what is learnt from (multiple-instance learning, as in Pang et al., "Explainable deep few-shot anomaly
detection with deviation networks", 2021). Plain arrays: nothing but numpy is needed to judge.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.vision.calibration import Spread, top_count
from shared.vision.errors import UnusableFeatures
from shared.vision.patch_network import PatchNetwork, surety


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchHeadFigures:
    """What a patch head is beside its arrays; goes into the manifest."""

    weight: float
    """What one deviation of its answer adds to the anomaly score."""
    spread: Spread
    """Of its answers to normals that it was not taught by."""
    side: int
    """Patches a side of the grid on which all layers meet."""
    top_fraction: float
    """Share of a picture's patches that make its answer: the most suspicious ones."""
    deviations: bool = False
    """Whether the network sees how patches deviate from their picture's mean as well; older ones do not."""

    def __post_init__(self) -> None:
        if self.side < 1 or not 0 < self.top_fraction <= 1:
            raise ValueError(f"a patch head of {self.side} patches a side and {self.top_fraction} of them at the top")


@dataclass(frozen=True, eq=False)
class PatchHead:
    """A taught patch head."""

    figures: PatchHeadFigures
    network: PatchNetwork
    known: NDArray[np.float32]
    """(A,) answers to the defects that taught it, each by a network that had not seen it: for updates."""

    def __post_init__(self) -> None:
        if self.known.ndim != 1 or not len(self.known) or self.known.dtype != np.float32:
            raise ValueError(f"a patch head that answered {self.known.shape} defects, in {self.known.dtype}")

    def answers(self, features: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """(N,) float32: how surely a defect lies in each picture's most suspicious patches, on average.

        A picture's answer does not depend on the pictures beside it, to the last bit.

        Args:
            features: (N, h, w, C) of every layer that pictures are described by, in the recipe's order.

        Raises:
            UnusableFeatures: they have another number of channels in all than the network.
        """
        patches = on_one_grid(features, self.figures.side)
        deviations = self.figures.deviations
        if patches.shape[-1] * (1 + deviations) != self.network.channels:
            raise UnusableFeatures(
                f"features {patches.shape} do not fit a patch head of {self.network.channels} channels"
            )
        log_odds = self.network.log_odds_with_deviations if deviations else self.network.log_odds
        return mean_of_top(surety(log_odds(patches)), self.figures.top_fraction)

    def scores(self, answers: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N,) float32: what it adds to the anomaly score."""
        return np.float32(self.figures.weight) * self.figures.spread.standardise(answers)


def on_one_grid(features: Sequence[NDArray[np.float32]], side: int) -> NDArray[np.float32]:
    """(N, side x side, C) float32: all layers' channels, side by side; by area where grids are finer or coarser."""
    return np.concatenate(
        [_by_area(layer, side).reshape(len(layer), side * side, -1) for layer in features], axis=2, dtype=np.float32
    )


def mean_of_top(patches: NDArray[np.float32], fraction: float) -> NDArray[np.float32]:
    """(N,) float32 of (N, P): the mean of the largest `fraction` of P, at least one."""
    count = top_count(patches.shape[1], fraction)
    # Sorted, so that the sum has one order whatever the others are.
    return np.sort(patches, axis=1)[:, -count:].mean(axis=1)  # type: ignore[no-any-return]  # numpy types a reduction as Any


def _by_area(layer: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    pictures, height, width, channels = layer.shape
    if (height, width) == (side, side):
        return layer
    rows = _overlaps(side, height) @ layer.reshape(pictures, height, width * channels)
    columns = _overlaps(side, width) @ rows.reshape(pictures, side, width, channels)
    return columns.reshape(pictures, side, side, channels)


def _overlaps(to: int, of: int) -> NDArray[np.float32]:
    """(to, of): which share of each new cell each old one covers, along one side."""
    edges = np.linspace(0, of, to + 1)
    cells = np.arange(of)
    covered = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
    return (np.maximum(covered, 0) * to / of).astype(np.float32)  # type: ignore[no-any-return]  # numpy types a maximum as Any
