"""Learning where known defects lie from pictures that only say that there is one.

A picture is as defective as its most suspicious patches: every step takes some good and some defective pictures, and
pulls these patches' log-odds towards what the picture is. Good pictures' most suspicious patches are what teaches most.
Beside what a patch is, the network sees how it deviates from its picture's mean.
Mirrored copies teach as well: defects are few, and run in any direction.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from services.trainer.cross_fit import FOLDS_AT_ONCE
from services.trainer.evaluation.metrics import auroc
from services.trainer.head import MIN_ABNORMALS, SCALE_FLOOR, Shown
from services.trainer.joining import Joining
from services.trainer.progress import Progress
from services.trainer.small_network import SmallNetwork, cooled
from services.trainer.turned import TURNS, Turned
from shared.events import FeatureGrid
from shared.vision.calibration import top_count
from shared.vision.head import described_layers
from shared.vision.inspection import grid_of, layer_patches
from shared.vision.patch_head import PatchHead, PatchHeadFigures, mean_of_top, on_one_grid, with_deviations
from shared.vision.patch_network import surety
from shared.vision.recipe import Recipe

SIDE = 16  # patches a side, or as many as the finest grid has
TOP = 0.02  # of the patches: those that make a picture defective
# At first many teach: a network that knows nothing yet would pick some patches by chance, and learn those by heart.
FIRST_TOP, NARROW_BY = 0.5, 0.5  # share of patches at first, share of the steps by which it has shrunk to TOP
# Tried for its answers, in deviations against the anomaly score's. Cross-validation would give it far more, as held-out
# defects are more like those that taught it than a new part's are: eight times the score's on one split of tiles by
# part, where AUROC on new parts was .91 instead of .95.
WEIGHTS = (0.25, 0.5, 1.0)
FOLDS = 5  # of the folds that pictures are held out in: each takes a network, and these take the longest of all
AT_ONCE = 8  # pictures of either truth a step
FEWEST_STEPS, MOST_STEPS = 1000, 1500  # on tiles split by part half as many cost .04, twice as many gain none
STEPS_A_PICTURE = 1.6
LEARNING_RATE = 5e-3
# Of weights, ten times as much as drawn defects need: parts are few, and a network soon knows each by heart.
DECAY = 10.0
# Deviations from the picture's mean are shown this large beside patches of unit size. As large as these they double
# what a step changes, and little material is learnt by heart: on made-up patches two of four networks find nothing.
DEVIATIONS = np.float32(0.5)
MAX_LESSONS = 2000  # of either truth, mirrored copies included: their patches are held in memory, a gigabyte or so
CHUNK = 32  # pictures whose patches are held as float32


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
    turned: Turned,
    seed: int,
    progress: Progress,
) -> PatchTrial:
    """Teach a patch head, and take it where it tells normal from abnormal better than the anomaly score, beyond noise.

    Args:
        grids_per_chip: of the N pictures shown, in their order.
        recipe: its layers are looked at.
        shown: normals and abnormals.
        turned: looks at mirrored copies of them.
        seed: of the networks' first weights, and of the pictures that teach where they are many.
        progress: told how many networks are taught.
    """
    defective = shown.is_abnormal
    alone = auroc(shown.scores, defective)
    report: dict[str, Any] = {"joined": False, "auroc_without": alone, "auroc_joined": None}
    if alone is None or len(shown.kinds) < MIN_ABNORMALS:
        return PatchTrial(None, shown.scores, report)
    lessons = _Lessons.of(grids_per_chip, recipe, defective, turned, seed)
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
        patches = _patches(grids_per_chip[start : start + CHUNK], recipe, lessons.side)
        of_chunk = fold_of[start : start + CHUNK]
        for fold, of_others in zip(folds, held_out, strict=True):
            out = of_chunk == fold
            answers[start : start + CHUNK][out] = mean_of_top(
                surety(of_others.log_odds(with_deviations(patches[out]))), TOP
            )
    joining = Joining.best(shown.scores, answers, defective, WEIGHTS, seed)
    report |= joining.report
    if joining.gain <= joining.noise:
        return PatchTrial(None, shown.scores, report)
    figures = PatchHeadFigures(
        weight=joining.weight, spread=joining.spread, side=lessons.side, top_fraction=TOP, deviations=True
    )
    return PatchTrial(PatchHead(figures, whole, answers[defective]), joining.scores, report | {"joined": True})


def answers_to(
    grids_per_chip: Sequence[tuple[FeatureGrid, ...]], recipe: Recipe, head: PatchHead
) -> NDArray[np.float32]:
    """(N,) answers to pictures that the patch head was not taught by."""
    layers = described_layers(recipe)
    chunks = [grids_per_chip[start : start + CHUNK] for start in range(0, len(grids_per_chip), CHUNK)]
    return np.concatenate(
        [head.answers([layer_patches(chunk, layer).features for layer in layers]) for chunk in chunks]
    )


@dataclass(frozen=True, eq=False)
class _Lessons:
    """Pictures that may teach, and mirrored copies of them."""

    patches: NDArray[np.float16]
    """(n, P, C) standardised."""
    defective: NDArray[np.bool_]
    """(n,)."""
    shown: NDArray[np.intp]
    """(n,) which of the pictures shown each is, or is a copy of."""
    side: int
    """Of the grid, patches."""
    centre: NDArray[np.float32]
    """(C,) mean of normals' features."""
    scale: NDArray[np.float32]
    """(C,) their standard deviation."""
    deviation_scale: NDArray[np.float32]
    """(C,) what deviations are divided by: of a normal's standardised patches around their mean, they come to
    `DEVIATIONS`."""

    @property
    def unscaled(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(2 C,) means and deviations that the network's inputs were standardised by."""
        return np.append(self.centre, np.zeros_like(self.centre)), np.append(
            self.scale, self.scale * self.deviation_scale
        )

    @classmethod
    def of(
        cls,
        grids_per_chip: Sequence[tuple[FeatureGrid, ...]],
        recipe: Recipe,
        defective: NDArray[np.bool_],
        turned: Turned,
        seed: int,
    ) -> "_Lessons":
        random = np.random.default_rng(seed)
        side = min(SIDE, max(grid.height for grid in grids_per_chip[0]))
        as_they_are, copied, turns = _choose(defective, random)
        batches = [as_they_are[start : start + CHUNK] for start in range(0, len(as_they_are), CHUNK)]
        looked = chain(([grids_per_chip[index] for index in batch] for batch in batches), turned(copied, turns))
        shown = np.concatenate([as_they_are, copied])
        channels = sum(grid_of(grids_per_chip[0], layer).channels for layer in described_layers(recipe))
        patches = np.empty((len(shown), side * side, channels), np.float16)
        done = 0
        for grids in looked:
            patches[done : done + len(grids)] = _patches(grids, recipe, side)
            done += len(grids)
        of_normals = patches[: len(as_they_are)][~defective[as_they_are]]
        centre = of_normals.mean(axis=(0, 1), dtype=np.float32)
        scale = np.maximum(of_normals.std(axis=(0, 1), dtype=np.float32), np.float32(SCALE_FLOOR))
        for start in range(0, len(patches), CHUNK):
            patches[start : start + CHUNK] = (patches[start : start + CHUNK] - centre) / scale
        squares = np.zeros_like(scale)
        for start in range(0, len(of_normals), CHUNK):
            within = ((of_normals[start : start + CHUNK] - centre) / scale).astype(np.float32)
            squares += within.var(axis=1).sum(axis=0)
        spread = np.maximum(np.sqrt(squares / np.float32(len(of_normals))), np.float32(SCALE_FLOOR))
        return cls(patches, defective[shown], shown, side, centre, scale, spread / DEVIATIONS)

    def teach(self, may_teach: NDArray[np.bool_], seed: int) -> SmallNetwork:
        """A network for standardised features, taught by those of the pictures shown (N,) that may. Deterministic."""
        random = np.random.default_rng(seed)
        network = SmallNetwork(2 * len(self.centre), random, DECAY)
        normals, abnormals = (
            np.flatnonzero(may_teach[self.shown] & (self.defective == truth)) for truth in (False, True)
        )
        steps = int(np.clip(STEPS_A_PICTURE * (len(normals) + len(abnormals)), FEWEST_STEPS, MOST_STEPS))
        truth = np.arange(2 * AT_ONCE) >= AT_ONCE
        for step in range(1, steps + 1):
            batch = np.concatenate([random.choice(normals, AT_ONCE), random.choice(abnormals, AT_ONCE)])
            features = with_deviations(self.patches[batch].astype(np.float32)).reshape(-1, 2 * len(self.centre))
            features[:, len(self.centre) :] /= self.deviation_scale
            hidden = network.hidden(features)
            odds = network.log_odds(hidden).reshape(len(batch), -1)
            count = top_count(odds.shape[1], _narrowing(step / steps))
            top = np.argpartition(-odds, count - 1, axis=1)[:, :count]
            answers = np.take_along_axis(odds, top, axis=1).mean(axis=1)
            miss = (1 / (1 + np.exp(-answers)) - truth).astype(np.float32) / np.float32(top.size)
            suspicious = (top + np.arange(len(batch))[:, None] * odds.shape[1]).ravel()
            network.descend(
                features[suspicious], hidden[suspicious], miss.repeat(count), cooled(LEARNING_RATE, step, steps)
            )
        return network


def _choose(
    defective: NDArray[np.bool_], random: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Which pictures teach as they are, and which teach mirrored, and how: as many as may, drawn by lot."""
    chosen = []
    for truth in (False, True):  # as large a share of either is mirrored, or being mirrored would be learnt
        members = np.flatnonzero(defective == truth)
        lots = np.sort(random.permutation((1 + TURNS) * len(members))[:MAX_LESSONS])
        chosen.append(np.stack([members[lots // (1 + TURNS)], lots % (1 + TURNS)]))
    pictures, views = np.concatenate(chosen, axis=1)
    is_copy = views > 0
    return pictures[~is_copy], pictures[is_copy], views[is_copy] - 1


def _narrowing(done: float) -> float:
    """The share of patches that teaches after a share of all steps: from `FIRST_TOP`, by half of them at `TOP`."""
    return float(FIRST_TOP * (TOP / FIRST_TOP) ** min(1.0, done / NARROW_BY))


def _patches(grids_per_chip: Sequence[tuple[FeatureGrid, ...]], recipe: Recipe, side: int) -> NDArray[np.float32]:
    """(N, P, C) of all layers on one grid."""
    return on_one_grid([layer_patches(grids_per_chip, layer).features for layer in described_layers(recipe)], side)
