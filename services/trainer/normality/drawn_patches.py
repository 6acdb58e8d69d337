"""Defects drawn into a product's normals, as its learnt layers see them: what their networks are taught by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from services.trainer.material.pictures import PictureFile
from services.trainer.material.rendered_defects import FAMILIES, reduced, spoil
from services.trainer.normality.cross_fit import LayerPatches, Remember, remember_patches
from services.trainer.normality.patch_teaching import Drawn, teach
from services.trainer.progress import Progress
from shared.events import FeatureGrid
from shared.vision.bank import LayerMemory
from shared.vision.engine import Engine
from shared.vision.extraction import extract
from shared.vision.inspection import grid_of
from shared.vision.picture import Picture, decode
from shared.vision.recipe import Layer, Recipe

COPIES = 2  # of each normal, each with a defect of its own
MAX_COPIES = 3000  # in all: more take time and teach little
BATCH = 16


@dataclass(frozen=True, eq=False)
class DrawnPatches:
    """The same copies, as each learnt layer sees them."""

    layers: Mapping[str, Drawn]
    """By `Layer.name`."""
    base: NDArray[np.intp]
    """(S,) which normal each is a copy of."""
    others: Remember = remember_patches
    """What layers keep that are not learnt."""

    def remember(self, layer: Layer, patches: LayerPatches, chosen: NDArray[np.bool_], seed: int) -> LayerMemory:
        """As `services.trainer.normality.cross_fit.Remember`: a network for a learnt layer."""
        if layer.metric != "learnt":
            return self.others(layer, patches, chosen, seed)
        return teach(self.layers[layer.name], chosen[self.base], patches, chosen, seed=seed)


def draw_patches(
    files: Sequence[PictureFile],
    recipe: Recipe,
    engine: Engine,
    *,
    seed: int,
    progress: Progress,
    others: Remember = remember_patches,
) -> DrawnPatches:
    """Draw defects into copies of normals, and look at them.

    Args:
        files: N good pictures that can be read.
        recipe: its learnt layers look.
        engine: made for the recipe.
        seed: of what is drawn where.
        progress: told how far it is.
        others: what layers keep that are not learnt.
    """
    random = np.random.default_rng(seed)
    base = np.concatenate([random.permutation(len(files)) for _ in range(COPIES)])[:MAX_COPIES]
    families = list(FAMILIES)
    recipe = replace(recipe, layers=learnt_layers(recipe))
    grids: list[tuple[FeatureGrid, ...]] = []
    changes: dict[str, list[NDArray[np.float32]]] = {layer.name: [] for layer in recipe.layers}
    donor = _picture(files[base[-1]])
    for start in range(0, len(base), BATCH):
        copies, changed = [], []
        for number in range(start, min(start + BATCH, len(base))):
            picture = _picture(files[base[number]])
            copies.append(spoil(picture, donor, families[number % len(families)], random))
            changed.append(change(copies[-1], picture))
            donor = picture
        looked = extract(copies, recipe, engine)
        for layer in recipe.layers:
            grid = grid_of(looked[0], layer)
            changes[layer.name] += [by_patch(each, grid.height, grid.width) for each in changed]
        grids += looked
        progress("drawing defects to learn from", len(grids), len(base))
    layers = {
        layer.name: Drawn(LayerPatches.of(grids, layer), np.stack(changes[layer.name])) for layer in recipe.layers
    }
    return DrawnPatches(layers, base, others)


def change(copy: Picture, picture: Picture) -> NDArray[np.float32]:
    """(h, w) by how much the copy's pixels differ, grey levels of 255: most of its channels."""
    return cv2.absdiff(copy, picture).max(axis=2).astype(np.float32)  # type: ignore[no-any-return]  # OpenCV is not typed


def by_patch(change: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """(height, width): the mean over every patch's pixels."""
    return cv2.resize(change, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[no-any-return]  # OpenCV is not typed


def learnt_layers(recipe: Recipe) -> tuple[Layer, ...]:
    """Those that are taught by drawn defects."""
    return tuple(layer for layer in recipe.layers if layer.metric == "learnt")


def _picture(file: PictureFile) -> Picture:
    return reduced(decode(file.read()))
