"""Trying a patch head: whether what known defects teach of single patches adds to the anomaly score."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from services.trainer.known_defects.head import Shown
from services.trainer.known_defects.joining import Joining
from services.trainer.known_defects.patch_lessons import CHUNK, TOP, PatchLessons, patches_on_one_grid
from services.trainer.known_defects.places import Places
from services.trainer.material.turned import Turned
from services.trainer.normality.cross_fit import FOLDS_AT_ONCE
from services.trainer.normality.small_network import SmallNetwork
from services.trainer.progress import Progress
from shared.events import FeatureGrid
from shared.vision.head import described_layers
from shared.vision.inspection import layer_patches
from shared.vision.patch_head import PatchHead, PatchHeadFigures, mean_of_top
from shared.vision.patch_network import surety
from shared.vision.recipe import Recipe

# Tried for its answers, in deviations against the anomaly score's. Cross-validation would give it far more, as held-out
# defects are more like those that taught it than a new part's are: eight times the score's on one split of tiles by
# part, where AUROC on new parts was .91 instead of .95.
WEIGHTS = (0.25, 0.5, 1.0)
FOLDS = 5  # of the folds that pictures are held out in: each takes a network


@dataclass(frozen=True, slots=True)
class PatchTrial:
    """What cross-validation says of a patch head."""

    head: PatchHead | None
    """None where it adds nothing beyond noise."""
    scores: NDArray[np.float32]
    """(N,) held-out scores: with the patch head where it joins."""
    report: dict[str, Any]
    """Plain JSON."""


def try_patch_head(
    grids_per_chip: Sequence[tuple[FeatureGrid, ...]],
    recipe: Recipe,
    shown: Shown,
    *,
    places: Places,
    turned: Turned,
    seed: int,
    progress: Progress,
) -> PatchTrial:
    """Teach a patch head, and take it where it tells normal from abnormal better than the anomaly score, beyond noise.

    Args:
        grids_per_chip: of the N pictures shown, in their order.
        recipe: its layers are looked at.
        shown: normals and abnormals.
        places: what is known of their patches.
        turned: looks at mirrored copies of them.
        seed: of the networks' first weights, and of the pictures that teach where they are many.
        progress: told how many networks are taught.
    """
    defective = shown.is_abnormal
    lessons = PatchLessons.of(grids_per_chip, recipe, defective, places=places, look_at_turned=turned, seed=seed)
    fold_of = shown.fold_of % FOLDS
    folds = np.unique(fold_of)
    taught_by = [*(fold_of != fold for fold in folds), np.ones(len(fold_of), np.bool_)]
    networks: list[SmallNetwork] = []
    # Small products: more threads of BLAS would wait for each other, and whole networks side by side do not.
    with threadpool_limits(1), ThreadPoolExecutor(FOLDS_AT_ONCE, thread_name_prefix="patch-head") as workers:
        for network in workers.map(lambda some: lessons.teach(some, seed), taught_by):
            networks.append(network)
            progress("learning from known defects", len(networks), len(taught_by))
    *held_out, whole = (network.of_unscaled(*lessons.unscaled) for network in networks)
    answers = np.empty(len(shown.scores), np.float32)
    for start in range(0, len(answers), CHUNK):
        patches = patches_on_one_grid(grids_per_chip[start : start + CHUNK], recipe, lessons.side)
        of_chunk = fold_of[start : start + CHUNK]
        for fold, of_others in zip(folds, held_out, strict=True):
            out = of_chunk == fold
            answers[start : start + CHUNK][out] = mean_of_top(
                surety(of_others.log_odds_with_deviations(patches[out])), TOP
            )
    joining = Joining.best(shown.scores, answers, defective, WEIGHTS, seed)
    report = joining.report | {"joined": joining.gain > joining.noise}
    if not report["joined"]:
        return PatchTrial(None, shown.scores, report)
    figures = PatchHeadFigures(
        weight=joining.weight, spread=joining.spread, side=lessons.side, top_fraction=TOP, deviations=True
    )
    return PatchTrial(PatchHead(figures, whole, answers[defective]), joining.scores, report)


def answers_to(
    grids_per_chip: Sequence[tuple[FeatureGrid, ...]], recipe: Recipe, head: PatchHead
) -> NDArray[np.float32]:
    """(N,) answers to pictures that the patch head was not taught by."""
    layers = described_layers(recipe)
    chunks = [grids_per_chip[start : start + CHUNK] for start in range(0, len(grids_per_chip), CHUNK)]
    return np.concatenate(
        [head.answers([layer_patches(chunk, layer).features for layer in layers]) for chunk in chunks]
    )
