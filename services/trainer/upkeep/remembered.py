"""Defects that a bundle remembers, by the patches that their scores are made of: what no update may swallow."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from services.trainer.normality.cross_fit import LayerPatches
from services.trainer.normality.layers import CHUNK, Normality
from shared.bank.upkeep import DefectPatches, Upkeep, UpkeepFigures
from shared.events import FeatureGrid
from shared.vision.bank import LayerMemory
from shared.vision.calibration import LayerCalibration, top_count
from shared.vision.features import Patches
from shared.vision.inspection import picture_scores
from shared.vision.recipe import Recipe

REMEMBERED = 2  # times the patches that a score is the mean of: others take their places under another bank


def remember(
    normality: Normality,
    groups: tuple[str, ...] | None,
    scores: NDArray[np.float32],
    defects: Sequence[tuple[FeatureGrid, ...]],
    *,
    names: Sequence[str],
    kinds: Sequence[str],
    defect_groups: tuple[str, ...] | None,
) -> Upkeep:
    """What a bundle needs for adding normals later.

    Args:
        normality: what was learnt.
        groups: of its normals.
        scores: (N,) held-out scores of its normals, with the head's share.
        defects: features of the known defects.
        names: of their files.
        kinds: of them.
        defect_groups: each defect's, where the normals have groups.
    """
    names_of_groups, group_of = numbered(groups, len(scores))
    remembered = [
        _most_anomalous(LayerPatches.of(defects, layer), bank, calibration, normality.recipe, index)
        for index, (layer, bank, calibration) in enumerate(
            zip(normality.recipe.layers, normality.layers, normality.calibrations, strict=True)
        )
        if defects
    ]
    figures = UpkeepFigures(
        groups=names_of_groups,
        defects=tuple(names),
        kinds=tuple(kinds),
        grids=tuple(grid for _, grid in remembered),
        defect_groups=defect_groups,
    )
    layers = tuple(patches for patches, _ in remembered)
    return Upkeep(figures, scores, normality.peaks, group_of, layers)


def numbered(groups: Sequence[str] | None, count: int) -> tuple[tuple[str, ...] | None, NDArray[np.int32]]:
    """As `Upkeep` has them: the names of `count` pictures' groups, each once, and (count,) which of them each is of."""
    if groups is None:
        return None, np.zeros(count, np.int32)
    names = sorted(set(groups))
    return tuple(names), np.searchsorted(names, groups).astype(np.int32)


def anomaly_scores(
    upkeep: Upkeep, banks: Sequence[LayerMemory], recipe: Recipe, calibrations: Sequence[LayerCalibration]
) -> NDArray[np.float32]:
    """(A,) float32: what the known defects score at least by these banks.

    Patches that are not remembered count as if they were exactly normal. By the banks that the defects were remembered
    by this is their score.
    """
    if not upkeep.layers:
        return np.empty(0, np.float32)
    distances = []
    for patches, bank, layer, (height, width) in zip(
        upkeep.layers, banks, recipe.layers, upkeep.figures.grids, strict=True
    ):
        defects = len(patches.values)
        measured = bank.distances(Patches(patches.values, patches.scales), layer.metric)
        flat = np.zeros((defects, height * width), np.float32)
        np.put_along_axis(flat, patches.places.astype(np.intp), measured, axis=1)
        distances.append(flat.reshape(defects, height, width))
    return picture_scores(distances, recipe, calibrations)


def _most_anomalous(
    patches: LayerPatches, bank: LayerMemory, calibration: LayerCalibration, recipe: Recipe, index: int
) -> tuple[DefectPatches, tuple[int, int]]:
    """One layer's patches to remember, and its grid."""
    pictures, height, width, channels = patches.values.shape
    layer = recipe.layers[index]
    count = min(height * width, REMEMBERED * top_count(height * width, layer.top_fraction))
    if layer.metric == "place":  # one or two numbers a patch, which mean nothing elsewhere
        count = height * width
    places = np.empty((pictures, count), np.int32)
    for start in range(0, pictures, CHUNK):
        chosen = np.zeros(pictures, np.bool_)
        chosen[start : start + CHUNK] = True
        oddness = calibration.place.standardise(bank.distances(patches.of_pictures(chosen), layer.metric))
        flat = oddness.reshape(len(oddness), -1)
        places[chosen] = np.sort(np.argsort(-flat, axis=1, kind="stable")[:, :count], axis=1)
    at = places.astype(np.intp)
    values = np.take_along_axis(patches.values.reshape(pictures, -1, channels), at[..., None], axis=1)
    scales = np.take_along_axis(patches.scales.reshape(pictures, -1), at, axis=1)
    return DefectPatches(values, scales, places), (height, width)
