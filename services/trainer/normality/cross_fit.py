"""Distances of normals from banks that have not seen them, so that every normal serves both bank and calibration.

A fold's bank is made from the other folds, hence from fewer pictures than the final one: held-out distances are, if
anything, a little larger than those that the final bank will give. Thresholds taken from them err towards fewer false
rejects, and a promised false-reject rate holds all the more.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from services.trainer.errors import TooFewNormals
from services.trainer.progress import Progress
from shared.events import FeatureGrid
from shared.vision.bank import LayerMemory
from shared.vision.features import Patches
from shared.vision.inspection import grid_of
from shared.vision.memory_bank import LayerBank, build_layer_bank
from shared.vision.place_memory import PlaceMemory
from shared.vision.recipe import Layer, Recipe

FOLDS = 10  # banks of nine tenths of the normals are nearly the final one; with 10 normals it is leave-one-out
FOLDS_AT_ONCE = min(4, os.cpu_count() or 1)  # numpy leaves the interpreter lock; each takes some 100 MB at most


@dataclass(frozen=True, eq=False)
class LayerPatches:
    """All normals' quantised features of one layer."""

    values: NDArray[np.int8]
    """(N, h, w, C)."""
    scales: NDArray[np.float32]
    """(N, h, w)."""

    @classmethod
    def of(cls, grids_per_chip: Sequence[tuple[FeatureGrid, ...]], layer: Layer) -> "LayerPatches":
        """The layer's grids of every chip, stacked."""
        grids = [grid_of(grids, layer) for grids in grids_per_chip]
        height, width, channels = grids[0].height, grids[0].width, grids[0].channels
        values = np.frombuffer(b"".join(grid.values for grid in grids), np.int8)
        scales = np.frombuffer(b"".join(grid.scales for grid in grids), "<f4").astype(np.float32)
        return cls(values.reshape(-1, height, width, channels), scales.reshape(-1, height, width))

    def followed_by(self, others: "LayerPatches") -> "LayerPatches":
        """These pictures' and the others'."""
        return LayerPatches(np.concatenate([self.values, others.values]), np.concatenate([self.scales, others.scales]))

    def bank(self, chosen: NDArray[np.bool_], layer: Layer, seed: int) -> LayerBank:
        """A memory bank of the chosen (N,) pictures."""
        patches = self.one_by_one
        return build_layer_bank(patches.values, patches.scales, layer.metric, among=self.rows(chosen), seed=seed)

    @property
    def one_by_one(self) -> Patches:
        """(N x h x w, C), no copy."""
        return Patches(self.values.reshape(-1, self.values.shape[-1]), self.scales.reshape(-1))

    def rows(self, chosen: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Which of `one_by_one` are the chosen (N,) pictures': some of them can be drawn without a copy of all."""
        _, height, width = self.scales.shape
        return np.flatnonzero(np.repeat(chosen, height * width))

    def of_pictures(self, chosen: NDArray[np.bool_]) -> Patches:
        """(n, h, w, C) of the chosen (N,) pictures."""
        return Patches(self.values[chosen], self.scales[chosen])

    def features(self, chosen: NDArray[np.bool_]) -> NDArray[np.float32]:
        """(n, h, w, C) float32 of the chosen (N,) pictures."""
        return self.of_pictures(chosen).features


Remember: TypeAlias = Callable[[Layer, LayerPatches, NDArray[np.bool_], int], LayerMemory]
"""What a layer keeps of the chosen (N,) normals, by a seed."""


def remember_patches(layer: Layer, patches: LayerPatches, chosen: NDArray[np.bool_], seed: int) -> LayerMemory:
    """What every layer keeps that is not learnt: a memory bank, or what is usual at each place."""
    if layer.metric == "place":
        return PlaceMemory.of(patches.features(chosen))
    return patches.bank(chosen, layer, seed)


def split_into_folds(groups: Sequence[str], *, folds: int = FOLDS, seed: int = 0) -> NDArray[np.intp]:
    """(N,) fold of each picture; a group is never on both sides of a split, and folds are about equally large.

    Args:
        groups: each picture's group; give every picture its own where nothing is known.
        folds: how many at most.
        seed: of the order in which groups are dealt.

    Raises:
        TooFewNormals: fewer than two groups.
    """
    names, group_of, sizes = np.unique(np.asarray(groups, str), return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise TooFewNormals(
            f"{len(groups)} good picture(s) in {len(names)} group(s): training needs two at least, so that one can "
            "be held out, and some 300 to promise a false-reject rate of 1 %"
        )
    filled = np.zeros(min(folds, len(names)), np.intp)
    fold_of_group = np.empty(len(names), np.intp)
    shuffled = np.random.default_rng(seed).permutation(len(names))
    for group in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:  # the largest first, each to the emptiest fold
        fold_of_group[group] = np.argmin(filled)
        filled[fold_of_group[group]] += sizes[group]
    return fold_of_group[group_of]


def held_out_distances(
    patches: Sequence[LayerPatches],
    recipe: Recipe,
    fold_of: NDArray[np.intp],
    *,
    seed: int,
    progress: Progress,
    remember: Remember = remember_patches,
) -> list[NDArray[np.float32]]:
    """(N, h, w) patch distances a layer, each picture's to what is remembered of the other folds."""
    distances = [np.empty(of_layer.scales.shape, np.float32) for of_layer in patches]
    folds = int(fold_of.max()) + 1

    def measure(fold: int) -> None:
        held_out = fold_of == fold
        for of_layer, layer, measured in zip(patches, recipe.layers, distances, strict=True):
            memory = remember(layer, of_layer, ~held_out, seed)
            measured[held_out] = memory.distances(of_layer.of_pictures(held_out), layer.metric)

    # How a product of floats is rounded depends on how many threads compute it; and where a network is taught, their
    # number changes for the whole process (`patch_teaching`), whatever another fold computes meanwhile.
    with threadpool_limits(1), ThreadPoolExecutor(FOLDS_AT_ONCE, thread_name_prefix="fold") as workers:
        for done, _ in enumerate(workers.map(measure, range(folds)), start=1):
            progress("calibrating", done, folds)
    return distances
