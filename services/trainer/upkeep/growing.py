"""Banks and a head that take new normals in, and stay as small as they were."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.trainer.known_defects.head import Refitted, describe_all, refit
from services.trainer.known_defects.patch_head import answers_to
from services.trainer.material.picture_features import Looked
from services.trainer.normality.cross_fit import LayerPatches, held_out_distances, split_into_folds
from services.trainer.normality.layers import peaks_of
from services.trainer.progress import Progress
from services.trainer.upkeep.remembered import anomaly_scores
from shared.bank.upkeep import Upkeep
from shared.vision.bank import Bank, LayerMemory
from shared.vision.inspection import coarse_maps, picture_scores
from shared.vision.memory_bank import MAX_CANDIDATES, MAX_VECTORS, LayerBank, build_layer_bank
from shared.vision.recipe import Layer


@dataclass(frozen=True, slots=True)
class Grown:
    """Banks and head that know the new normals, and the held-out figures of old and new ones."""

    layers: tuple[LayerMemory, ...]
    head: Refitted | None
    scores: NDArray[np.float32]
    """(N + n,) of normals, the remembered ones first."""
    peaks: NDArray[np.float32]
    """(N + n,) likewise."""
    defects: NDArray[np.float32]
    """(A,) of the known defects."""
    folds: int
    """In which the new normals were held out."""


def grow(bank: Bank, upkeep: Upkeep, added: Looked, names: Sequence[str], *, seed: int, progress: Progress) -> Grown:
    """Add normals to a bank.

    Args:
        bank: as it is.
        upkeep: what it remembers.
        added: n normals.
        names: each one's group, or its own name.
        seed: of folds and coresets.
        progress: told how far it is.
    """
    recipe, calibrations = bank.recipe, bank.calibration.layers
    patches = [LayerPatches.of(added.grids, layer) for layer in recipe.layers]
    # A single group cannot be held out from its own: it is then measured by the bank as it was, which is stricter.
    fold_of = split_into_folds(names, seed=seed) if len(set(names)) > 1 else np.zeros(len(names), np.intp)
    old = dict(zip(recipe.layers, bank.layers, strict=True))

    def remember(layer: Layer, of_layer: LayerPatches, chosen: NDArray[np.bool_], seed: int) -> LayerMemory:
        return _grown_bank(old[layer], of_layer, chosen, layer, seed)

    distances = held_out_distances(patches, recipe, fold_of, seed=seed, progress=progress, remember=remember)
    everyone = np.ones(len(names), np.bool_)
    layers = tuple(
        remember(layer, of_layer, everyone, seed) for of_layer, layer in zip(patches, recipe.layers, strict=True)
    )
    scores = picture_scores(distances, recipe, calibrations)
    defects = anomaly_scores(upkeep, layers, recipe, calibrations)
    head = None
    if bank.head:
        head = refit(
            bank.head,
            len(upkeep.figures.defects),
            describe_all(added.grids, recipe),
            names,
            defect_groups=upkeep.figures.defect_groups,
            seed=seed,
        )
        scores = scores + bank.head.scores(head.normals[:, None])
        defects = defects + bank.head.scores(head.defects[:, None])
    if bank.patch_head:  # it stays as it was taught: the pictures of defects are not there to teach it again
        scores = scores + bank.patch_head.scores(answers_to(added.grids, recipe, bank.patch_head))
        defects = defects + bank.patch_head.scores(bank.patch_head.known)
    return Grown(
        layers=layers,
        head=head,
        scores=np.concatenate([upkeep.scores, scores]),
        peaks=np.concatenate(
            [upkeep.peaks, peaks_of(coarse_maps(distances, recipe, calibrations, bank.calibration.map_level))]
        ),
        defects=defects,
        folds=int(fold_of.max()) + 1,
    )


def _grown_bank(
    old: LayerMemory, patches: LayerPatches, chosen: NDArray[np.bool_], layer: Layer, seed: int
) -> LayerMemory:
    """The bank of what was remembered and the chosen pictures, no larger than a fresh one.

    A network stays as it was taught, and so does what is usual at each place: the pictures that taught them are not
    there.
    """
    if not isinstance(old, LayerBank):
        return old
    rows, new = patches.rows(chosen), patches.one_by_one
    room = MAX_CANDIDATES - len(old.values)
    if len(rows) > room:  # of the new patches; what is remembered stays a candidate
        rows = rows[np.sort(np.random.default_rng(seed).choice(len(rows), room, replace=False))]
    return build_layer_bank(
        np.concatenate([old.values, new.values[rows]]),
        np.concatenate([old.scales, new.scales[rows]]),
        layer.metric,
        max_vectors=max(MAX_VECTORS, len(old.values)),
        seed=seed,
    )
