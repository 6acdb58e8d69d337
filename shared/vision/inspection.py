"""Judging chips by their features: the one code path that the matcher, `evaluate` and `bench` share."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from shared.events import FeatureGrid, Mask, Region
from shared.vision.anomaly_map import fuse, lower, upsample
from shared.vision.bank import Bank
from shared.vision.calibration import LayerCalibration
from shared.vision.errors import UnusableFeatures
from shared.vision.features import Patches, patches_of
from shared.vision.head import describe, described_layers
from shared.vision.mask import outline
from shared.vision.recipe import Layer, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What was found on one chip."""

    score: float
    rejected: bool
    defect_kind: str | None
    """What kind of known defect a rejected chip looks like most; None where no kinds are known."""
    anomaly_map: NDArray[np.float32]
    """(h, w) standardised patch distances, before upsampling and smoothing; same unit as the mask threshold."""
    mask: Mask | None
    regions: tuple[Region, ...]


def inspect(
    grids_per_chip: Sequence[tuple[FeatureGrid, ...]], sizes: Sequence[tuple[int, int]], bank: Bank
) -> list[Inspection]:
    """Judge a batch of chips with one bank.

    Args:
        grids_per_chip: each chip's grids, one a layer name of the bank's recipe, in any order.
        sizes: the original pictures' (height, width), pixels.
        bank: of the same feature space as the grids.

    Raises:
        UnusableFeatures: a grid is missing, has another shape than its neighbours or the bank, or holds numbers that
            are not finite; a size is not positive. It says nothing of the batch's other chips: judge them one by one.
    """
    if not grids_per_chip:
        return []
    patches = {layer.name: layer_patches(grids_per_chip, layer) for layer in bank.recipe.layers}
    distances = [
        layer_bank.distances(patches[layer.name], layer.metric)
        for layer, layer_bank in zip(bank.recipe.layers, bank.layers, strict=True)
    ]
    scores = picture_scores(distances, bank.recipe, bank.calibration.layers)
    kinds: list[str | None] = [None] * len(scores)
    if bank.head is not None or bank.patch_head is not None:
        described = [patches[layer.name].features for layer in described_layers(bank.recipe)]
        if bank.head is not None:
            answers = bank.head.answers(describe(described))
            scores, kinds = scores + bank.head.scores(answers), bank.head.kinds(answers)
        if bank.patch_head is not None:
            scores = scores + bank.patch_head.scores(bank.patch_head.answers(described))
    maps = coarse_maps(distances, bank.recipe, bank.calibration.layers, bank.calibration.map_level)
    if not (np.isfinite(scores).all() and np.isfinite(maps).all()):  # no comparison with NaN would ever reject
        raise UnusableFeatures("the features give scores that are no finite numbers: extract them again")
    return [
        _inspection(float(score), kind, coarse, size, bank)
        for score, kind, coarse, size in zip(scores, kinds, maps, sizes, strict=True)
    ]


def layer_patches(grids_per_chip: Sequence[tuple[FeatureGrid, ...]], layer: Layer) -> Patches:
    """(N, h, w, C) patches of one layer.

    Raises:
        UnusableFeatures: a chip lacks the layer's grid, or a grid is damaged, or the grids differ in shape.
    """
    patches = [patches_of(grid_of(grids, layer)) for grids in grids_per_chip]
    shapes = [each.values.shape for each in patches]
    if len(set(shapes)) > 1:
        raise UnusableFeatures(f"grids {layer.name} of different shapes in one batch: {shapes}")
    return Patches.stacked(patches)


def grid_of(grids: tuple[FeatureGrid, ...], layer: Layer) -> FeatureGrid:
    """The layer's grid among a chip's; UnusableFeatures where there is none."""
    for grid in grids:
        if grid.layer == layer.name:
            return grid
    raise UnusableFeatures(
        f"no grid {layer.name} among {[grid.layer for grid in grids]}: extract with the bank's recipe"
    )


def picture_scores(
    distances: Sequence[NDArray[np.float32]], recipe: Recipe, calibrations: Sequence[LayerCalibration]
) -> NDArray[np.float32]:
    """(N,) float32: the layers' standardised scores, weighed and added; `distances` are (N, h, w) a layer."""
    # Not by `np.sum`, which adds eight layers and more in another order where there is one picture.
    return reduce(np.add, layer_scores(distances, recipe, calibrations))


def layer_scores(
    distances: Sequence[NDArray[np.float32]], recipe: Recipe, calibrations: Sequence[LayerCalibration]
) -> list[NDArray[np.float32]]:
    """(N,) float32 a layer: what it adds to the picture's score."""
    return [
        np.float32(layer.weight) * calibration.scores(of_layer, layer.top_fraction)
        for of_layer, layer, calibration in zip(distances, recipe.layers, calibrations, strict=True)
    ]


def coarse_maps(
    distances: Sequence[NDArray[np.float32]], recipe: Recipe, calibrations: Sequence[LayerCalibration], level: float
) -> NDArray[np.float32]:
    """(N, h, w) float32: the layers' standardised patch distances, weighed, at the finest grid, each map lowered.

    Args:
        distances: (N, h, w) a layer.
        recipe: the layers and their weights.
        calibrations: one a layer.
        level: share of its own median that each map is lowered by.
    """
    fused = fuse(
        [
            calibration.patch.standardise(of_layer)
            for of_layer, calibration in zip(distances, calibrations, strict=True)
        ],
        [layer.weight for layer in recipe.layers],
    )
    return lower(fused, level)


def _inspection(
    score: float, kind: str | None, coarse: NDArray[np.float32], size: tuple[int, int], bank: Bank
) -> Inspection:
    if min(size) < 1:
        raise UnusableFeatures(f"features of a picture of {size[0]} x {size[1]} pixels: extract them again")
    nothing: tuple[Mask | None, tuple[Region, ...]] = (None, ())
    # Upsampling goes beyond no extreme, so that most good chips need none.
    is_clean = coarse.max() <= bank.mask_threshold
    mask, regions = nothing if is_clean else outline(upsample(coarse, *size), bank.mask_threshold)
    rejected = score > bank.threshold
    return Inspection(
        score=score,
        rejected=rejected,
        defect_kind=kind if rejected else None,
        anomaly_map=coarse,
        mask=mask,
        regions=regions,
    )
