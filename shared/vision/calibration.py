"""What scores mean: standardising from held-out normals, and what the thresholds promise."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from shared.vision.promise import Promise

PATCH_STD_FLOOR = 1e-3  # distances below it are int8 noise: copies of one picture must not make all else infinitely odd
SCORE_STD_FLOOR = 0.05  # a score is a mean of standardised distances, so that its deviation is of the order of one
CELLS = 8  # places a side at which patch distances are expected to differ; finer ones would be learnt from too little
NEIGHBOUR_WEIGHT = 0.25  # of a place's either neighbour in its own figures: parts never lie exactly still
PRIOR_PICTURES = 10  # weight of the whole picture's figures against one place's: few normals say little of a place


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Mean and standard deviation of a quantity over held-out normals."""

    mean: float
    std: float
    """Above zero."""

    def __post_init__(self) -> None:
        if not self.std > 0:
            raise ValueError(f"a standard deviation of {self.std}: it is above 0")

    @classmethod
    def of(cls, values: NDArray[np.float32], floor: float) -> Self:
        """Spread of an array; the standard deviation is at least `floor`."""
        std = float(values.std(dtype=np.float64))
        return cls(mean=float(values.mean(dtype=np.float64)), std=max(std, floor))

    def standardise(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """(value - mean) / std, float32 of the same shape."""
        return ((values - np.float32(self.mean)) / np.float32(self.std)).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceSpread:
    """Mean and standard deviation of patch distances over held-out normals, by place in the picture.

    Where parts lie still, some places (an edge, a marking) are always farther from normal than others; standardised by
    place, a fault where little ever varies counts as much. Every place's figures are drawn towards the whole picture's,
    so that a few normals, or parts that lie anyhow, end with about the same expectation everywhere.
    """

    rows: int
    columns: int
    means: tuple[float, ...]
    """rows x columns, row-major; between the places' centres they are interpolated."""
    stds: tuple[float, ...]

    def __post_init__(self) -> None:
        if not len(self.means) == len(self.stds) == self.rows * self.columns > 0:
            raise ValueError(
                f"{self.rows} x {self.columns} places with {len(self.means)} means and {len(self.stds)} deviations"
            )
        if not min(self.stds) > 0:
            raise ValueError(f"a place with a standard deviation of {min(self.stds)}: it is above 0")

    @classmethod
    def of(cls, distances: NDArray[np.float32]) -> Self:
        """Spread of (N, h, w) distances; a standard deviation is at least `PATCH_STD_FLOOR`."""
        pictures, height, width = distances.shape
        rows, columns = min(height, CELLS), min(width, CELLS)
        down, across = (
            _neighbourly(rows) @ _membership(height, rows),
            _neighbourly(columns) @ _membership(width, columns),
        )
        exact = distances.astype(np.float64)
        mean, mean_square = exact.mean(), (exact**2).mean()
        own = pictures / (pictures + PRIOR_PICTURES)
        means = own * (down @ exact.mean(axis=0) @ across.T) + (1 - own) * mean
        mean_squares = own * (down @ (exact**2).mean(axis=0) @ across.T) + (1 - own) * mean_square
        stds = np.sqrt(np.maximum(mean_squares - means**2, PATCH_STD_FLOOR**2))
        return cls(rows=rows, columns=columns, means=tuple(means.ravel().tolist()), stds=tuple(stds.ravel().tolist()))

    def standardise(self, distances: NDArray[np.float32]) -> NDArray[np.float32]:
        """(distance - mean) / std, each at its place; (N, h, w) float32 of any grid."""
        _, height, width = distances.shape
        down, across = _interpolation(height, self.rows), _interpolation(width, self.columns)
        means, stds = (
            (down @ np.reshape(figures, (self.rows, self.columns)) @ across.T).astype(np.float32)
            for figures in (self.means, self.stds)
        )
        standardised: NDArray[np.float32] = (distances - means) / stds
        return standardised


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCalibration:
    """How one layer's distances are standardised before layers are added."""

    patch: Spread
    """Of single patches' distances: for the anomaly map, whose unit is the same everywhere."""
    place: PlaceSpread
    """Of the same by place: for the score."""
    score: Spread
    """Of a picture's mean over its largest distances, standardised by place."""

    @classmethod
    def of(cls, distances: NDArray[np.float32], top_fraction: float) -> Self:
        """From (N, h, w) distances of held-out normals."""
        place = PlaceSpread.of(distances)
        return cls(
            patch=Spread.of(distances, PATCH_STD_FLOOR),
            place=place,
            score=Spread.of(top_mean(place.standardise(distances), top_fraction), SCORE_STD_FLOOR),
        )

    def scores(self, distances: NDArray[np.float32], top_fraction: float) -> NDArray[np.float32]:
        """(N,) float32 standardised scores of (N, h, w) distances."""
        return self.score.standardise(top_mean(self.place.standardise(distances), top_fraction))


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """All that was learnt from held-out normals, one entry a layer in the recipe's order, and the promises."""

    layers: tuple[LayerCalibration, ...]
    promise: Promise
    """Of the threshold: how many good pictures are rejected."""
    mask_promise: Promise | None = None
    """Of the mask threshold: how many good pictures show a mask. None in bundles of old."""
    map_level: float = 0.0
    """Share of its own median that every anomaly map is lowered by. None of it in bundles of old."""
    escape_promise: Promise | None = None
    """Of the threshold: how many defective pictures are passed. None where no limit was asked for."""

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return asdict(self)


def top_mean(distances: NDArray[np.float32], fraction: float) -> NDArray[np.float32]:
    """(N, h, w) to (N,): the mean over this fraction of each picture's largest distances, one at least."""
    flat = distances.reshape(len(distances), -1)
    count = top_count(flat.shape[1], fraction)
    # Sorted, since partitions leave them in another order on another machine, and sums of floats tell.
    largest = np.sort(np.partition(flat, flat.shape[1] - count, axis=1)[:, -count:], axis=1)
    return largest.mean(axis=1, dtype=np.float32)  # type: ignore[no-any-return]


def top_count(patches: int, fraction: float) -> int:
    """How many of a picture's patches `top_mean` is over."""
    return max(1, math.ceil(fraction * patches - 1e-9))  # 0.03 x 100 is 3, not 4


def _membership(length: int, cells: int) -> NDArray[np.float64]:
    """(cells, length): row c averages the positions that lie in cell c of equally long ones."""
    belongs = np.arange(length) * cells // length == np.arange(cells)[:, None]
    return belongs / belongs.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]


def _neighbourly(cells: int) -> NDArray[np.float64]:
    """(cells, cells): row c averages cell c with its neighbours; an outermost cell stands in for one it lacks."""
    weights = np.eye(cells) * (1 - 2 * NEIGHBOUR_WEIGHT)
    for offset in (-1, 1):
        neighbours = np.clip(np.arange(cells) + offset, 0, cells - 1)
        weights[np.arange(cells), neighbours] += NEIGHBOUR_WEIGHT
    return weights


def _interpolation(length: int, cells: int) -> NDArray[np.float64]:
    """(length, cells): row i interpolates linearly between the centres of cells, constant beyond the outermost."""
    positions = np.clip((np.arange(length) + 0.5) * cells / length - 0.5, 0, cells - 1)
    return np.maximum(1 - np.abs(positions[:, None] - np.arange(cells)), 0)  # type: ignore[no-any-return]
