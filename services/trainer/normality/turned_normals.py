"""Few good pictures, mirrored and turned where good ones may look like that: banks that know more of what is normal.

Tens of pictures show little of a product, and whatever the next good chip adds counts against it. A mirrored picture
adds likely patches, provided that the product has no left and right. The banks themselves say so, where mirrored
copies of pictures that they have not seen look no odder than these. Where they do, being mirrored may be a defect, and
the copies are left out. A bank that cannot tell copies from pictures would not have found that defect.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.trainer.evaluation.metrics import auroc
from services.trainer.material.picture_features import Looked
from services.trainer.material.turned import TURN_NAMES, look_at_turned
from services.trainer.normality.cross_fit import LayerPatches, held_out_distances, remember_patches
from services.trainer.progress import Progress
from shared.events import FeatureGrid
from shared.vision.bank import LayerMemory
from shared.vision.calibration import LayerCalibration
from shared.vision.engine import Engine
from shared.vision.inspection import picture_scores
from shared.vision.recipe import Layer, Recipe

# Good pictures up to which copies are looked at. On tiles split by part they gain .015 to .028 of image AUROC with 30,
# and with 750 between -.004 and .008, for three times the pictures.
FEW = 100
# AUROC of copies against pictures, both held out, up to which they count as alike. Mirrored tiles have .46 to .79, by
# which parts are looked at, and tiles by a quarter turn 1.0, which gain nothing; a board's crops .55 to .76, all ways.
ALIKE = 0.8
BANKS = ("cosine", "l2")  # metrics of layers that remember patches


@dataclass(frozen=True, eq=False)
class TurnedNormals:
    """Copies of normals that look like normals."""

    layers: Mapping[str, LayerPatches]
    """By `Layer.name`, of C copies."""
    base: NDArray[np.intp]
    """(C,) which normal each is a copy of."""
    report: list[dict[str, Any]]
    """Plain JSON: what was found of each turn."""

    def remember(self, layer: Layer, patches: LayerPatches, chosen: NDArray[np.bool_], seed: int) -> LayerMemory:
        """A memory bank of the chosen normals and their copies, as `services.trainer.normality.cross_fit.Remember`."""
        if layer.metric not in BANKS or not len(self.base):
            return remember_patches(layer, patches, chosen, seed)
        both = patches.followed_by(self.layers[layer.name])
        return remember_patches(layer, both, np.concatenate([chosen, chosen[self.base]]), seed)


def turned_normals(
    normals: Looked, recipe: Recipe, engine: Engine, fold_of: NDArray[np.intp], *, seed: int, progress: Progress
) -> TurnedNormals | None:
    """Copies of these normals that may join their banks; None where there are too many to look, or no banks.

    Args:
        normals: N good pictures.
        recipe: which features, compared how.
        engine: made for the recipe.
        fold_of: (N,) fold in which each normal is held out, and its copies with it.
        seed: of the coresets.
        progress: told how many copies have been looked at, and compared.
    """
    recipe = replace(recipe, layers=tuple(layer for layer in recipe.layers if layer.metric in BANKS))
    count = len(normals.files)
    if count > FEW or not recipe.layers:
        return None
    base = np.tile(np.arange(count), len(TURN_NAMES))
    turns = np.repeat(np.arange(len(TURN_NAMES)), count)
    look = look_at_turned(normals.files, recipe, engine, progress)
    copies = [grids for batch in look(base, turns) for grids in batch]
    oddness = _oddness(normals.grids, copies, recipe, fold_of, seed=seed, progress=progress)
    alike = [odd <= ALIKE for odd in oddness]
    taken = np.flatnonzero(np.asarray(alike)[turns])
    of_taken = [copies[index] for index in taken]
    return TurnedNormals(
        layers={layer.name: LayerPatches.of(of_taken, layer) for layer in recipe.layers} if of_taken else {},
        base=base[taken],
        report=[
            {"turn": name, "auroc": round(odd, 4), "taken": taken}
            for name, odd, taken in zip(TURN_NAMES, oddness, alike, strict=True)
        ],
    )


def _oddness(
    normals: Sequence[tuple[FeatureGrid, ...]],
    copies: Sequence[tuple[FeatureGrid, ...]],
    recipe: Recipe,
    fold_of: NDArray[np.intp],
    *,
    seed: int,
    progress: Progress,
) -> list[float]:
    """Of each turn: AUROC of its copies against the pictures, by banks of the pictures of other folds.

    The copies are given turn by turn, those of one in the order of the pictures.
    """
    count = len(normals)
    patches = [LayerPatches.of((*normals, *copies), layer) for layer in recipe.layers]

    def pictures_alone(layer: Layer, both: LayerPatches, chosen: NDArray[np.bool_], seed: int) -> LayerMemory:
        return remember_patches(layer, both, chosen & (np.arange(len(chosen)) < count), seed)

    distances = held_out_distances(
        patches,
        recipe,
        np.tile(fold_of, 1 + len(TURN_NAMES)),
        seed=seed,
        progress=lambda _, done, folds: progress("comparing turned pictures", done, folds),
        remember=pictures_alone,
    )
    calibrations = [
        LayerCalibration.of(measured[:count], layer.top_fraction)
        for measured, layer in zip(distances, recipe.layers, strict=True)
    ]
    pictures, *turned = picture_scores(distances, recipe, calibrations).reshape(-1, count)
    is_copy = np.arange(2 * count) >= count
    found = [auroc(np.concatenate([pictures, of_copies]), is_copy) for of_copies in turned]
    return [1.0 if odd is None else odd for odd in found]
