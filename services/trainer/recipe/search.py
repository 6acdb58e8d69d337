"""Finding a product's recipe: candidates tried on defects drawn into held-out normals, and on real ones where known.

Drawn defects tell what is blind to a kind of defect from what is not, but cannot rank what is close. So no single
winner is taken: candidates share the score by how well they did, and what adds nothing is left out for its cost.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.trainer.errors import NothingAffordable
from services.trainer.material.pictures import PictureFile
from services.trainer.material.rendered_defects import FAMILIES, THIN_LINES
from services.trainer.normality.cross_fit import FOLDS_AT_ONCE, LayerPatches
from services.trainer.normality.drawn_patches import by_patch, change
from services.trainer.progress import Progress
from services.trainer.recipe.candidates import candidates, input_sizes, learnt_candidate, line_candidates
from services.trainer.recipe.choice import Scores, Trial, choose, join_learnt, join_lines, measured_auroc
from services.trainer.recipe.learnt_trial import LearntSample, try_learnt
from services.trainer.recipe.sample import Sample, gather
from shared.events import FeatureGrid
from shared.vision.bank import LayerMemory
from shared.vision.calibration import LayerCalibration
from shared.vision.engine import Engine, EngineKind
from shared.vision.engines.loading import load_engine
from shared.vision.extraction import extract
from shared.vision.memory_bank import build_layer_bank
from shared.vision.place_memory import PlaceMemory
from shared.vision.recipe import DEFAULT_RECIPE, Layer, Precision, Recipe

BANK = 1000  # vectors; half of a product's, for the same ranking
BANK_CANDIDATES = 10_000  # patches that a bank is chosen from
BATCH = 16

HOPELESS = 0.2  # of AUROC below the best on the first fold: not measured further
TIMINGS = 5  # of one picture, the fastest counts
_LEARNT = ", learnt"  # in the table: a network, beside the bank of the same layer


@dataclass(frozen=True, slots=True)
class Found:
    """A recipe, and how it was found."""

    recipe: Recipe
    report: dict[str, Any]
    """Plain JSON: the table of what was tried."""


def search_recipe(
    normals: Sequence[PictureFile],
    *,
    groups: Sequence[str] | None,
    abnormals: Sequence[PictureFile],
    max_ms: float | None,
    engine: EngineKind,
    precision: Precision,
    seed: int,
    progress: Progress,
) -> Found:
    """The recipe for a product, deterministic by `seed` (and, under `max_ms`, by how fast the machine is).

    Args:
        normals: good pictures, two at least.
        groups: each normal's group, held out together; None where each stands for itself.
        abnormals: defective pictures, where some are known.
        max_ms: bound on a picture's extraction by the engine on this machine, milliseconds.
        engine: what runs the backbone.
        precision: what it computes in, here and in the recipe.
        seed: of what is sampled and drawn.
        progress: told how far it is.

    Raises:
        TooFewNormals: fewer than two normals or groups.
        NothingAffordable: not even the cheapest candidate keeps `max_ms`.
    """
    sample, sizes = gather(normals, groups, abnormals, seed=seed, progress=progress)
    trials: list[Trial] = []
    learnt: Trial | None = None
    lines: list[Trial] = []
    costs: dict[int, float] = {}
    for input_size in input_sizes(sizes):
        tried = candidates(input_size)
        # The smallest size sees enough for what stands beside the banks, and is looked at by most recipes.
        of_lines = line_candidates(input_size) if learnt is None else ()
        loaded = load_engine(engine, Recipe(layers=(*tried, *of_lines), precision=precision))
        costs[input_size] = _milliseconds(loaded, input_size)
        if max_ms is not None and costs[input_size] > max_ms:
            continue
        grids = _look((*tried, *of_lines), sample, loaded, progress)
        trials += _try_candidates(tried, grids, sample, seed=seed, progress=progress)
        if learnt is None:
            learnt = _try_learnt(learnt_candidate(input_size), grids, sample, seed=seed, progress=progress)
            lines = [_try(layer, LayerPatches.of(grids, layer), sample, best=0.0, seed=seed) for layer in of_lines]
    if learnt is None:
        raise NothingAffordable(
            f"a picture of {min(costs)} pixels takes {min(costs.values()):.1f} ms on this machine, more than the "
            f"{max_ms} ms that are allowed: allow more"
        )
    recipe = choose(trials, sample.families, costs, max_ms)
    sizes_looked_at = {layer.input_size for layer in (*recipe.layers, learnt.layer)}
    if max_ms is None or sum(costs[size] for size in sizes_looked_at) <= max_ms:
        recipe = join_learnt(recipe, trials, learnt, sample.families)
        thin = [number for number, family in enumerate(FAMILIES) if family in THIN_LINES]
        recipe = join_lines(recipe, [*trials, learnt], lines, sample.families, thin)
    # Where they decide nothing, times would only make another bundle of the same pictures and seed.
    told = costs if max_ms is not None else {}
    return Found(replace(recipe, precision=precision), _report([*trials, learnt, *lines], recipe, told, sample))


def _look(tried: Sequence[Layer], sample: Sample, engine: Engine, progress: Progress) -> list[tuple[FeatureGrid, ...]]:
    """Of normals, spoilt ones and abnormals, in that order."""
    recipe = Recipe(layers=tuple(tried))
    pictures = (*sample.normals, *sample.spoilt, *sample.abnormals)
    input_size = tried[0].input_size
    grids = []
    for start in range(0, len(pictures), BATCH):
        grids += extract(pictures[start : start + BATCH], recipe, engine)
        progress(f"looking at {input_size} px", min(start + BATCH, len(pictures)), len(pictures))
    return grids


def _try_candidates(
    tried: Sequence[Layer], grids: Sequence[tuple[FeatureGrid, ...]], sample: Sample, *, seed: int, progress: Progress
) -> list[Trial]:
    """What each candidate of one input size makes of the sample."""
    trials: list[Trial] = []
    input_size = tried[0].input_size
    for done, layer in enumerate(tried, start=1):
        # Usual layers may get half of the score whatever they do here, and what joins them is compared with them.
        is_usual = layer in DEFAULT_RECIPE.layers
        best = 0.0 if is_usual else max((trial.auroc for trial in trials), default=0.0)
        trials.append(_try(layer, LayerPatches.of(grids, layer), sample, best, seed))
        progress(f"comparing at {input_size} px", done, len(tried))
    return trials


def _try(layer: Layer, patches: LayerPatches, sample: Sample, best: float, seed: int) -> Trial:
    measured = _Measured(layer, patches, sample, seed)
    measured.measure(0)
    quality, real = measured_auroc(measured.scores(1), sample.families[sample.spoilt_fold_of == 0])
    if quality < best - HOPELESS:
        return Trial(layer, quality, real, None)
    folds = int(sample.fold_of.max()) + 1
    with ThreadPoolExecutor(FOLDS_AT_ONCE, thread_name_prefix="fold") as workers:
        list(workers.map(measured.measure, range(1, folds)))
    scores = measured.scores(folds)
    quality, real = measured_auroc(scores, sample.families)
    return Trial(layer, quality, real, scores)


def _try_learnt(
    layer: Layer, grids: Sequence[tuple[FeatureGrid, ...]], sample: Sample, *, seed: int, progress: Progress
) -> Trial:
    """What networks make of the sample, each of pictures and families that taught it nothing."""
    patches = LayerPatches.of(grids, layer)
    height, width = patches.scales.shape[1:]
    changes = [
        by_patch(change(spoilt, sample.normals[base]), height, width)
        for spoilt, base in zip(sample.spoilt, sample.spoilt_base, strict=True)
    ]
    parts = LearntSample(
        patches=patches,
        change=np.stack(changes),
        fold_of=sample.fold_of,
        base=sample.spoilt_base,
        families=sample.families,
    )
    scores = try_learnt(layer, parts, seed=seed, progress=progress)
    return Trial(layer, *measured_auroc(scores, sample.families), scores)


class _Measured:
    """Patch distances of one layer, fold by fold."""

    def __init__(self, layer: Layer, patches: LayerPatches, sample: Sample, seed: int) -> None:
        self._layer = layer
        self._patches = patches
        self._seed = seed
        count = len(sample.normals), len(sample.spoilt), len(sample.abnormals)
        self._fold_of = np.concatenate([sample.fold_of, sample.spoilt_fold_of, np.zeros(count[2], np.intp)])
        self._ends = count[0], count[0] + count[1]
        self._distances = np.zeros(patches.scales.shape, np.float32)

    def measure(self, fold: int) -> None:
        normal = np.arange(len(self._fold_of)) < self._ends[0]
        memory = self._memory(normal & (self._fold_of != fold))
        for index in np.flatnonzero(self._fold_of == fold):
            picture = np.arange(len(self._fold_of)) == index
            self._distances[index] = memory.distances(self._patches.of_pictures(picture), self._layer.metric)[0]

    def scores(self, folds: int) -> Scores:
        """Of the pictures held out in the first folds."""
        normals, spoilt, abnormals = np.split(self._distances, self._ends)
        normal_folds, spoilt_folds, _ = np.split(self._fold_of, self._ends)
        normals, spoilt = normals[normal_folds < folds], spoilt[spoilt_folds < folds]
        calibration = LayerCalibration.of(normals, self._layer.top_fraction)
        return Scores(
            *(
                calibration.scores(part, self._layer.top_fraction) if len(part) else np.empty(0, np.float32)
                for part in (normals, spoilt, abnormals)
            )
        )

    def _memory(self, chosen: NDArray[np.bool_]) -> LayerMemory:
        if self._layer.metric == "place":
            return PlaceMemory.of(self._patches.features(chosen))
        values, scales = self._patches.values[chosen], self._patches.scales[chosen].ravel()
        values = values.reshape(-1, values.shape[-1])
        some = np.random.default_rng(self._seed).permutation(len(values))[:BANK_CANDIDATES]
        return build_layer_bank(values[some], scales[some], self._layer.metric, max_vectors=BANK, seed=self._seed)


def _report(trials: Sequence[Trial], recipe: Recipe, costs: dict[int, float], sample: Sample) -> dict[str, Any]:
    chosen = {(layer.name, layer.metric): layer.weight for layer in recipe.layers}
    return {
        "normals": len(sample.normals),
        "spoilt": len(sample.spoilt),
        "abnormals": len(sample.abnormals),
        "families": list(FAMILIES),
        "ms": {str(size): round(cost, 2) for size, cost in costs.items()},
        "tried": [
            {
                "candidate": f"{trial.layer.tap} @ {trial.input_size} px{_LEARNT * (trial.layer.metric == 'learnt')}",
                "auroc": round(trial.auroc, 4),
                "auroc_on_real": None if trial.auroc_on_real is None else round(trial.auroc_on_real, 4),
                "given_up": trial.scores is None,
                "weight": chosen.get((trial.layer.name, trial.layer.metric), 0.0),
            }
            for trial in trials
        ],
    }


def _milliseconds(engine: Engine, input_size: int) -> float:
    picture = np.zeros((1, input_size, input_size, 3), np.uint8)
    taken = []
    for _ in range(TIMINGS):
        start = time.perf_counter()
        engine.features(picture, input_size)
        taken.append(time.perf_counter() - start)
    return 1000 * min(taken)
