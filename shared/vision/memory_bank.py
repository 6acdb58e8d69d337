"""A layer's memory of normal patches: greedy coreset, int8 storage, nearest-neighbour distances.

Greedy k-centre selection on a random projection follows PatchCore (Roth et al., "Towards total recall in industrial
anomaly detection", CVPR 2022).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shared.vision.errors import BadRecipe, UnusableFeatures
from shared.vision.features import Patches
from shared.vision.products import as_columns, products
from shared.vision.recipe import Metric

MAX_VECTORS = 2000  # as good as 10,000 on normals split by part, and a fifth of the time
# Distances are means over so many nearest vectors. One alone is noisy, and a defect that slipped in among the normals
# would hide its like: on tiles split by part, three are worth 0.004 of image AUROC and 0.01 of AU-PRO; five no more.
NEIGHBOURS = 3
MAX_CANDIDATES = 50_000  # patches the coreset is chosen from; more cost time and move no centre worth the name
# Distances in 64 random dimensions rank nearly as in 192, in a third of the time. In 32, which would halve it again,
# the bank depends on the draw: on two splits of tiles by part, image AUROC was 0.001 and 0.012 lower (four seeds each).
PROJECTED_CHANNELS = 64
# Similarities held at once, 2 MB of float32: they are gone through four times, and should stay in a core's cache. Fewer
# rows than these are slow to multiply, however large the bank.
CHUNK_ELEMENTS = 500_000
CHUNK_ROWS = 256
TINY = np.float32(1e-12)


@dataclass(frozen=True, eq=False)
class LayerBank:
    """Normal patches of one layer, int8 a vector: ``vector = values x scale``."""

    values: NDArray[np.int8]
    """(M, C)."""
    scales: NDArray[np.float32]
    """(M,)."""

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or not len(self.values) or self.values.dtype != np.int8:
            raise ValueError(
                f"a bank holds at least one int8 vector, (M, C): got {self.values.dtype} {self.values.shape}"
            )
        if self.scales.shape != self.values.shape[:1] or self.scales.dtype != np.float32:
            raise ValueError(
                f"a bank of {len(self.values)} vectors needs as many float32 scales: "
                f"got {self.scales.dtype} {self.scales.shape}"
            )
        if (self.scales < 0).any():
            raise ValueError("a bank scales its vectors by numbers below zero")

    @property
    def channels(self) -> int:
        """Of the features that it remembers."""
        return int(self.values.shape[1])

    @property
    def numbers(self) -> int:
        """How many it remembers."""
        return int(self.values.size)

    @cached_property
    def columns(self) -> NDArray[np.float32]:
        """(C, M'), the values and zeros (`as_columns`): a batch of patches' values times this is all their products."""
        return as_columns(self.values)

    @cached_property
    def _inverse_lengths(self) -> NDArray[np.float32]:
        return _inverse_lengths(_squared_lengths(self.values))

    @cached_property
    def _squared_norms(self) -> NDArray[np.float32]:
        """(M,), of the vectors, scales and all."""
        return (np.square(self.scales.astype(np.float64)) * _squared_lengths(self.values)).astype(np.float32)

    def warm_up(self, metric: Metric) -> None:
        """Make all that `distances` derives from the vectors and keeps, so that no chip waits for it."""
        self.distances(Patches(np.zeros((1, self.channels), np.int8), np.zeros(1, np.float32)), metric)

    def distances(self, patches: Patches, metric: Metric) -> NDArray[np.float32]:
        """Distance of every patch to the nearest normal ones: the mean over `NEIGHBOURS` of them.

        The same patch has the same distance, to the last bit, whatever is measured beside it, by how many threads and
        on whichever machine: products of int8 are whole numbers, which float32 adds up without rounding in any order,
        and everything after them is done number by number. A verdict can be recomputed because of that.

        Args:
            patches: (..., C).
            metric: ``cosine`` gives 1 - cosine, 0 to 2. ``l2`` gives the Euclidean distance divided by the root mean
                square norm of the bank, so that it has no unit and layers of any scale can be added.

        Returns:
            (...) float32, never negative.

        Raises:
            UnusableFeatures: they have another number of channels than the bank.
            BadRecipe: a metric that measures no distance between patches.
        """
        channels = self.values.shape[1]
        if patches.values.shape[-1] != channels:
            raise UnusableFeatures(f"features {patches.values.shape} do not fit a bank of {channels} channels")
        values, scales = patches.values.reshape(-1, channels), patches.scales.reshape(-1)
        measure = {"cosine": self._cosine, "l2": self._euclidean}.get(metric)
        if measure is None:
            raise BadRecipe(f"a memory of patches measures by cosine or l2, and not by {metric!r}")
        distances = np.empty(len(values), np.float32)
        rows = max(CHUNK_ROWS, CHUNK_ELEMENTS // len(self.values))
        for start in range(0, len(values), rows):
            chunk = slice(start, start + rows)
            distances[chunk] = measure(values[chunk], scales[chunk])
        return distances.reshape(patches.scales.shape)

    def _cosine(self, values: NDArray[np.int8], _scales: NDArray[np.float32]) -> NDArray[np.float32]:
        nearness = self._products(values)
        nearness *= self._inverse_lengths
        cosines = _largest(nearness, NEIGHBOURS) * _inverse_lengths(_squared_lengths(values))[:, None]
        return np.maximum(np.float32(1) - cosines, np.float32(0)).mean(axis=1)  # type: ignore[no-any-return]  # numpy types a reduction as Any

    def _euclidean(self, values: NDArray[np.int8], scales: NDArray[np.float32]) -> NDArray[np.float32]:
        nearness = self._products(values)  # minus half the squared distance, but for the feature's own norm
        nearness *= self.scales
        nearness *= scales[:, None]
        nearness -= self._squared_norms / np.float32(2)
        own_squared_norms = (np.square(scales.astype(np.float64)) * _squared_lengths(values)).astype(np.float32)
        squared = own_squared_norms[:, None] - np.float32(2) * _largest(nearness, NEIGHBOURS)
        scale = np.float32(np.sqrt(max(self._squared_norms.mean(dtype=np.float64), TINY)))
        return np.sqrt(np.maximum(squared, np.float32(0))).mean(axis=1) / scale  # type: ignore[no-any-return]  # numpy types a reduction as Any

    def _products(self, values: NDArray[np.int8]) -> NDArray[np.float32]:
        """(P, M) products of (P, C) values with the bank's."""
        return products(values, self.columns)[:, : len(self.values)]


def _squared_lengths(values: NDArray[np.int8]) -> NDArray[np.int32]:
    """(P, C) to (P,), exact."""
    wide = values.astype(np.int32)
    return np.einsum("pc,pc->p", wide, wide)  # type: ignore[no-any-return]  # numpy types a reduction as Any


def _inverse_lengths(squared: NDArray[np.int32]) -> NDArray[np.float32]:
    """A row of zeros counts as of length one: its products are zero anyway."""
    return (1 / np.sqrt(np.maximum(squared, 1))).astype(np.float32)


def _largest(nearness: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """(P, M) to (P, min(count, M)): every row's largest, in order. Overwrites what it is given.

    One pass over the rows for each is several times faster than partitioning them.
    """
    rows = np.arange(len(nearness))
    found = np.empty((len(nearness), min(count, nearness.shape[1])), np.float32)
    for rank in range(found.shape[1]):
        best = nearness.argmax(axis=1)
        found[:, rank] = nearness[rows, best]
        nearness[rows, best] = -np.inf
    return found


def unit(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows at length one; a row of zeros stays zero. (P, C) float32 to (P, C) float32."""
    norms = np.sqrt(np.einsum("pc,pc->p", features, features))
    return features / np.maximum(norms, TINY)[:, None]  # type: ignore[no-any-return]  # numpy types a reduction as Any


def build_layer_bank(
    values: NDArray[np.int8],
    scales: NDArray[np.float32],
    metric: Metric,
    *,
    among: NDArray[np.intp] | None = None,
    max_vectors: int = MAX_VECTORS,
    seed: int = 0,
) -> LayerBank:
    """The coreset of normal patches that are to be remembered, deterministic by `seed`.

    Args:
        values: (P, C) int8 quantised patches.
        scales: (P,) float32, one a patch.
        metric: the metric that the layer is matched by; the coreset covers the patches in the same.
        among: indices of those that may be remembered, None for all: patches that are not drawn are not copied.
        max_vectors: largest size of the bank.
        seed: of the projection and of the sample of candidates.
    """
    if among is None:
        among = np.arange(len(values))
    if len(among) > MAX_CANDIDATES:
        among = among[np.sort(np.random.default_rng(seed).choice(len(among), MAX_CANDIDATES, replace=False))]
    values, scales = values[among], scales[among]
    features = values.astype(np.float32)
    features = unit(features) if metric == "cosine" else features * scales[:, None]
    kept = greedy_coreset(features, max_vectors, seed=seed)
    return LayerBank(np.ascontiguousarray(values[kept]), np.ascontiguousarray(scales[kept], dtype=np.float32))


def greedy_coreset(features: NDArray[np.float32], size: int, *, seed: int = 0) -> NDArray[np.intp]:
    """Indices of at most `size` rows, each the farthest from those before: greedy k-centre, sorted.

    Args:
        features: (P, C) float32.
        size: how many to keep; fewer come back where the rows run out or the rest are copies of kept ones.
        seed: of the random projection.
    """
    if len(features) <= size:
        return np.arange(len(features))
    projected = _project(features, seed)
    squared_norms = np.einsum("pc,pc->p", projected, projected)
    # Start at the most unusual patch: deterministic, and a centre that any start would have had to take.
    farthest = int(np.argmax(np.linalg.norm(projected - projected.mean(axis=0), axis=1)))
    gap = np.full(len(projected), np.inf, np.float32)
    kept: list[int] = []
    for _ in range(size):
        kept.append(farthest)
        # Not `@`: threads of BLAS that meet thousands of times a second wait for each other wherever a core is busy.
        distance = np.einsum("pc,c->p", projected, projected[farthest])
        distance *= np.float32(-2)
        distance += squared_norms
        distance += squared_norms[farthest]
        np.minimum(gap, distance, out=gap)
        gap[farthest] = -np.inf
        farthest = int(np.argmax(gap))
        if gap[farthest] <= 0:
            break
    # Copies come out of a matrix product rounded by the rows they stand in, and look a little apart.
    _, distinct = np.unique(features[kept], axis=0, return_index=True)
    return np.sort(np.asarray(kept, np.intp)[distinct])


def _project(features: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    channels = features.shape[1]
    if channels <= PROJECTED_CHANNELS:
        return np.ascontiguousarray(features)
    matrix = np.random.default_rng(seed).standard_normal((channels, PROJECTED_CHANNELS), dtype=np.float32)
    return features @ (matrix / np.float32(np.sqrt(PROJECTED_CHANNELS)))
