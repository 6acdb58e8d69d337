"""Whether a learnt layer would help: networks tried on pictures and families of defects that taught them nothing.

A network knows the families it was taught; how well it knows them says nothing of real defects. So families are dealt
to two halves, and each half is judged by networks that were taught by the other.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from services.trainer.normality.cross_fit import LayerPatches
from services.trainer.normality.patch_teaching import Drawn, teach
from services.trainer.progress import Progress
from services.trainer.recipe.choice import Scores
from shared.vision.calibration import LayerCalibration
from shared.vision.recipe import Layer

HALVES = 2


@dataclass(frozen=True, eq=False, kw_only=True)
class LearntSample:
    """Pictures that networks are tried on, as one layer sees them."""

    patches: LayerPatches
    """Of N normals, then of S spoilt ones, then of A abnormals."""
    change: NDArray[np.float32]
    """(S, h, w) mean change of each spoilt patch's pixels, grey levels of 255."""
    fold_of: NDArray[np.intp]
    """(N,) fold in which each normal, and what is a copy of it, is held out."""
    base: NDArray[np.intp]
    """(S,) which normal each spoilt picture is a copy of."""
    families: NDArray[np.intp]
    """(S,) number of the family of each spoilt picture's defect."""

    @property
    def parts(self) -> tuple[LayerPatches, LayerPatches, LayerPatches]:
        """Of normals, spoilt ones and abnormals."""
        ends = [0, len(self.fold_of), len(self.fold_of) + len(self.base), len(self.patches.values)]
        of_normals, of_spoilt, of_abnormals = (
            LayerPatches(self.patches.values[start:end], self.patches.scales[start:end])
            for start, end in pairwise(ends)
        )
        return of_normals, of_spoilt, of_abnormals


def try_learnt(layer: Layer, sample: LearntSample, *, seed: int, progress: Progress) -> Scores:
    """Standardised scores of the layer, each by a network that has seen neither picture nor family.

    Normals and abnormals, which are of no family, get the mean of both halves' networks. Deterministic by `seed`.
    """
    ends = [len(sample.fold_of), len(sample.fold_of) + len(sample.base)]
    half_of = sample.families % HALVES
    found = []
    for half in range(HALVES):
        distances = _held_out_distances(layer, sample, half_of != half, seed)
        calibration = LayerCalibration.of(distances[: ends[0]], layer.top_fraction)
        found.append(np.split(calibration.scores(distances, layer.top_fraction), ends))
        progress("learning from drawn defects", half + 1, HALVES)
    normals, spoilt, abnormals = (np.stack(each) for each in zip(*found, strict=True))
    return Scores(normals.mean(axis=0), spoilt[half_of, np.arange(len(half_of))], abnormals.mean(axis=0))


def _held_out_distances(
    layer: Layer, sample: LearntSample, taught: NDArray[np.bool_], seed: int
) -> NDArray[np.float32]:
    """(N + S + A, h, w) by networks that those spoilt pictures (S,) of the other folds teach that may."""
    normals, spoilt, abnormals = sample.parts
    spoilt_fold_of = sample.fold_of[sample.base]
    # Abnormals are of no fold: the first one's network measures them.
    fold_of = np.concatenate([sample.fold_of, spoilt_fold_of, np.zeros(len(abnormals.values), np.intp)])
    distances = np.zeros(sample.patches.scales.shape, np.float32)
    for fold in range(int(sample.fold_of.max()) + 1):
        network = teach(
            Drawn(spoilt, sample.change), taught & (spoilt_fold_of != fold), normals, sample.fold_of != fold, seed=seed
        )
        out = fold_of == fold
        distances[out] = network.distances(sample.patches.of_pictures(out), layer.metric)
    return distances
