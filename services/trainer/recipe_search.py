"""Finding a product's recipe: candidates tried on defects drawn into held-out normals, and on real ones where known.

Drawn defects tell what is blind to a kind of defect from what is not, but cannot rank what is close. So no single
winner is taken: candidates share the score by how well they did, and what adds nothing is left out for its cost.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from services.trainer.candidates import candidates, input_sizes
from services.trainer.cross_fit import FOLDS_AT_ONCE, LayerPatches, split_into_folds
from services.trainer.errors import NothingAffordable
from services.trainer.pictures import PictureFile
from services.trainer.progress import Progress
from services.trainer.recipe_choice import Scores, Trial, choose, measured_auroc
from services.trainer.rendered_defects import FAMILIES, spoil
from shared.vision.calibration import LayerCalibration
from shared.vision.engine import Engine, EngineKind
from shared.vision.engines.loading import load_engine
from shared.vision.errors import PictureError
from shared.vision.extraction import extract
from shared.vision.memory_bank import LayerBank, build_layer_bank
from shared.vision.picture import Picture, decode
from shared.vision.recipe import Layer, Precision, Recipe

MAX_NORMALS = 160  # looked at: more make candidates no easier to tell apart
MAX_ABNORMALS = 64
BASES = 24  # normals that defects are drawn into, one of each family; four are useless, twice as many gain little
MAX_SIDE = 768  # pixels: larger pictures are reduced first, a little above the largest input size
FOLDS = 4
BANK = 1000  # vectors; half of a product's, for the same ranking
BANK_CANDIDATES = 10_000  # patches that a bank is chosen from
BATCH = 16

HOPELESS = 0.2  # of AUROC below the best on the first fold: not measured further
TIMINGS = 5  # of one picture, the fastest counts


@dataclass(frozen=True, slots=True)
class Found:
    """A recipe, and how it was found."""

    recipe: Recipe
    report: dict[str, Any]
    """Plain JSON: the table of what was tried."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Pictures that candidates are tried on."""

    normals: tuple[Picture, ...]
    fold_of: NDArray[np.intp]
    spoilt: tuple[Picture, ...]
    spoilt_fold_of: NDArray[np.intp]
    families: NDArray[np.intp]
    """Of each spoilt picture, its place in `FAMILIES`."""
    abnormals: tuple[Picture, ...]


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
    costs: dict[int, float] = {}
    for input_size in input_sizes(sizes):
        tried = candidates(input_size)
        loaded = load_engine(engine, Recipe(layers=tried, precision=precision))
        costs[input_size] = _milliseconds(loaded, input_size)
        if max_ms is not None and costs[input_size] > max_ms:
            continue
        trials += try_candidates(tried, sample, loaded, seed=seed, progress=progress)
    if not trials:
        raise NothingAffordable(
            f"a picture of {min(costs)} pixels takes {min(costs.values()):.1f} ms on this machine, more than the "
            f"{max_ms} ms that are allowed: allow more"
        )
    recipe = replace(choose(trials, sample.families, costs, max_ms), precision=precision)
    return Found(recipe, _report(trials, recipe, costs, sample))


def gather(
    normals: Sequence[PictureFile],
    groups: Sequence[str] | None,
    abnormals: Sequence[PictureFile],
    *,
    seed: int,
    progress: Progress,
) -> tuple[Sample, list[tuple[int, int]]]:
    """The pictures to try candidates on, and the original (height, width) of the normals among them."""
    random = np.random.default_rng(seed)
    chosen = np.sort(random.permutation(len(normals))[:MAX_NORMALS])
    pictures, sizes, kept = [], [], []
    for done, index in enumerate(chosen, start=1):
        if (picture := _read(normals[index])) is not None:
            pictures.append(_reduced(picture))
            sizes.append((picture.shape[0], picture.shape[1]))
            kept.append(index)
        progress("sampling normals", done, len(chosen))
    names = [groups[index] if groups else normals[index].name for index in kept]
    fold_of = split_into_folds(names, folds=FOLDS, seed=seed)
    bases = np.sort(random.permutation(len(pictures))[:BASES])
    spoilt = []
    for done, base in enumerate(bases, start=1):
        for family in FAMILIES:
            donor = int((base + random.integers(1, len(pictures))) % len(pictures))
            spoilt.append(spoil(pictures[base], pictures[donor], family, random))
        progress("drawing defects", done, len(bases))
    real = [_read(abnormals[index]) for index in random.permutation(len(abnormals))[:MAX_ABNORMALS]]
    sample = Sample(
        normals=tuple(pictures),
        fold_of=fold_of,
        spoilt=tuple(spoilt),
        spoilt_fold_of=np.repeat(fold_of[bases], len(FAMILIES)),
        families=np.tile(np.arange(len(FAMILIES)), len(bases)),
        abnormals=tuple(_reduced(picture) for picture in real if picture is not None),
    )
    return sample, sizes


def try_candidates(
    tried: Sequence[Layer], sample: Sample, engine: Engine, *, seed: int, progress: Progress
) -> list[Trial]:
    """What each candidate of one input size makes of the sample."""
    recipe = Recipe(layers=tuple(tried))
    pictures = (*sample.normals, *sample.spoilt, *sample.abnormals)
    input_size = tried[0].input_size
    grids = []
    for start in range(0, len(pictures), BATCH):
        grids += extract(pictures[start : start + BATCH], recipe, engine)
        progress(f"looking at {input_size} px", min(start + BATCH, len(pictures)), len(pictures))
    trials: list[Trial] = []
    for done, layer in enumerate(tried, start=1):
        best = max((trial.auroc for trial in trials), default=0.0)
        trials.append(_try(layer, LayerPatches.of(grids, layer), sample, best, seed))
        progress(f"comparing at {input_size} px", done, len(tried))
    return trials


def _try(layer: Layer, patches: LayerPatches, sample: Sample, best: float, seed: int) -> Trial:
    measured = _Measured(layer, patches, sample, seed)
    measured.measure(0)
    quality, real = measured_auroc(measured.scores(1), _seen(sample, 1))
    if quality < best - HOPELESS:
        return Trial(layer, quality, real, None)
    folds = int(sample.fold_of.max()) + 1
    with ThreadPoolExecutor(FOLDS_AT_ONCE, thread_name_prefix="fold") as workers:
        list(workers.map(measured.measure, range(1, folds)))
    scores = measured.scores(folds)
    quality, real = measured_auroc(scores, sample.families)
    return Trial(layer, quality, real, scores)


def _seen(sample: Sample, folds: int) -> NDArray[np.intp]:
    return sample.families[sample.spoilt_fold_of < folds]


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
        bank = self._bank(normal & (self._fold_of != fold))
        for index in np.flatnonzero(self._fold_of == fold):
            picture = np.arange(len(self._fold_of)) == index
            self._distances[index] = bank.distances(self._patches.features(picture), self._layer.metric)[0]

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

    def _bank(self, chosen: NDArray[np.bool_]) -> LayerBank:
        values, scales = self._patches.values[chosen], self._patches.scales[chosen].ravel()
        values = values.reshape(-1, values.shape[-1])
        some = np.random.default_rng(self._seed).permutation(len(values))[:BANK_CANDIDATES]
        return build_layer_bank(values[some], scales[some], self._layer.metric, max_vectors=BANK, seed=self._seed)


def _report(trials: Sequence[Trial], recipe: Recipe, costs: dict[int, float], sample: Sample) -> dict[str, Any]:
    chosen = {layer.name: layer.weight for layer in recipe.layers}
    return {
        "normals": len(sample.normals),
        "spoilt": len(sample.spoilt),
        "abnormals": len(sample.abnormals),
        "families": list(FAMILIES),
        "ms": {str(size): round(cost, 2) for size, cost in costs.items()},
        "tried": [
            {
                "candidate": f"{trial.layer.tap} @ {trial.input_size} px",
                "auroc": round(trial.auroc, 4),
                "auroc_on_real": None if trial.auroc_on_real is None else round(trial.auroc_on_real, 4),
                "given_up": trial.scores is None,
                "weight": chosen.get(trial.layer.name, 0.0),
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


def _read(file: PictureFile) -> Picture | None:
    """None where it cannot be inspected: it is named when all pictures are looked at."""
    try:
        return decode(file.read())
    except PictureError:
        return None


def _reduced(picture: Picture) -> Picture:
    scale = MAX_SIDE / max(picture.shape[:2])
    if scale >= 1:
        return picture
    size = (max(16, round(picture.shape[1] * scale)), max(16, round(picture.shape[0] * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)  # type: ignore[no-any-return]
