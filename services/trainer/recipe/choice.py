"""Choosing a recipe by what was found of its candidates, on drawn defects and real ones.

Drawn defects tell what is blind to a kind of defect from what is not, but cannot rank what is close.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

import numpy as np
from numpy.typing import NDArray

from services.trainer.evaluation.metrics import auroc
from shared.vision.recipe import DEFAULT_RECIPE, Layer, Recipe

TEMPERATURE = 0.05  # of AUROC: a candidate this much worse than another weighs e times less
LEAST_SHARE = 0.4  # of the best candidate's weight: what weighs less is not worth its milliseconds
TIE = 0.005  # of AUROC: a cheaper recipe this close is as good
LEARNT_SHARE = 0.5  # of a learnt layer's weight against all banks' together; a quarter to one do about as well
WORTH = 0.005  # of AUROC on drawn defects of families that taught it nothing: a learnt layer must gain as much
LINES_SHARE = 0.3  # likewise of a layer of lines: a quarter to a half do about as well, and more costs the rest
LINES_WORTH = 0.0025  # of AUROC on drawn lines, or on real defects: a layer of lines must gain as much
LINES_COST = 0.01  # of AUROC on all drawn defects: a layer of lines may cost as much, which is less than they can rank
BLIND = 0.05  # of AUROC below the best: drawn defects that the usual recipe misses by that much, real ones may be too
# Of the usual recipe's weight, for the best other layer at its sizes: tiles lose some .002 of AUROC by it, and products
# of other kinds, whose usual layers drawn defects found a little worse than these, gain .02 to .06.
BESIDE = 0.1
LOST = 0.2  # likewise: up to here half of the score stays with the usual recipe, since drawn defects may be wrong


@dataclass(frozen=True, slots=True)
class Trial:
    """What was found of one candidate."""

    layer: Layer
    auroc: float
    """Mean over families of drawn defects, and over these and the real defects where there are some."""
    auroc_on_real: float | None
    scores: "Scores | None"
    """None where it was given up after the first fold."""

    @property
    def input_size(self) -> int:
        """Pixels a side."""
        return self.layer.input_size


@dataclass(frozen=True, slots=True)
class Scores:
    """Standardised scores of one layer, each by a bank that has not seen the picture."""

    normals: NDArray[np.float32]
    """(N,)."""
    spoilt: NDArray[np.float32]
    """(S,) of normals with defects drawn into them."""
    abnormals: NDArray[np.float32]
    """(A,) of real defects; none is fine."""

    def __add__(self, other: "Scores") -> "Scores":
        return Scores(self.normals + other.normals, self.spoilt + other.spoilt, self.abnormals + other.abnormals)

    def times(self, weight: float) -> "Scores":
        """Each of them."""
        factor = np.float32(weight)
        return Scores(self.normals * factor, self.spoilt * factor, self.abnormals * factor)


def choose(
    trials: Sequence[Trial], families: NDArray[np.intp], costs: dict[int, float], max_ms: float | None = None
) -> Recipe:
    """The recipe that the trials speak for.

    That is the usual one, late layers at the two smallest sizes, and the best other layer there with a share of its
    own, unless it is blind to what others see: drawn defects cannot rank what is close. Else, of every set of input
    sizes that keeps `max_ms`, the candidates share the score by their AUROC; of sets that do about equally well, the
    cheapest is taken. Where the usual recipe sees less, but is not lost, half of the score stays with it.

    Args:
        trials: of all candidates.
        families: of each spoilt picture.
        costs: milliseconds by input size, for `max_ms` alone.
        max_ms: bound on their sum.
    """
    known = any(trial.auroc_on_real is not None for trial in trials)
    behind = _usual_behind(trials)
    usual = _usual(trials, costs, max_ms)
    if known and behind <= TIE:
        return usual
    if not known and behind <= BLIND:
        return _with_best_beside(usual, trials)
    whole = [trial for trial in trials if trial.scores is not None]
    options = []
    for sizes in _subsets(sorted({trial.input_size for trial in whole})):
        # By pixels, not by the clock: whether others use this machine must not decide what is chosen.
        pixels = sum(size * size for size in sizes)
        if max_ms is None or sum(costs[size] for size in sizes) <= max_ms:
            shares = _shares([trial for trial in whole if trial.input_size in sizes])
            used = {trial.input_size for trial, _ in shares}
            if used == set(sizes):
                options.append((_shared_auroc(shares, families), pixels, shares))
    best = max(quality for quality, _, _ in options)
    _, _, shares = min((option for option in options if option[0] >= best - TIE), key=lambda option: option[1:2])
    recipe = _recipe(shares)
    if known or behind > LOST:
        return recipe
    mixed = _half_and_half(recipe, usual)
    sizes_used = {layer.input_size for layer in mixed.layers}
    return mixed if max_ms is None or sum(costs[size] for size in sizes_used) <= max_ms else recipe


def join_learnt(recipe: Recipe, trials: Sequence[Trial], learnt: Trial, families: NDArray[np.intp]) -> Recipe:
    """The recipe with a learnt layer beside its banks, where that tells defects apart that taught it nothing.

    Args:
        recipe: of tried layers.
        trials: of all candidates.
        learnt: of the learnt layer, every score by a network that has seen neither the picture nor its defect's family.
        families: of each spoilt picture.
    """
    alone = _scores_of(recipe, trials)
    if alone is None or learnt.scores is None:
        return recipe
    weight = LEARNT_SHARE * sum(layer.weight for layer in recipe.layers)
    before, _ = measured_auroc(alone, families)
    after, _ = measured_auroc(alone + learnt.scores.times(weight), families)
    return _with(recipe, learnt.layer, weight) if after >= before + WORTH else recipe


def join_lines(
    recipe: Recipe,
    trials: Sequence[Trial],
    lines: Sequence[Trial],
    families: NDArray[np.intp],
    thin: Sequence[int],
) -> Recipe:
    """The recipe with layers that see nothing but thin lines, where they tell drawn ones apart and cost others little.

    They are judged by what they are there for, drawn lines and the real defects where some are known: as one of many
    families, cracks would hardly count.

    Args:
        recipe: of tried layers.
        trials: of all candidates and the learnt layer.
        lines: of layers of lines, one after the other.
        families: of each spoilt picture.
        thin: the families that are thin lines.
    """
    alone = _scores_of(recipe, trials)
    if alone is None or not thin:
        return recipe
    weight = LINES_SHARE * sum(layer.weight for layer in recipe.layers if layer.metric != "learnt")
    for trial in lines:
        if trial.scores is None:
            continue
        joined = alone + trial.scores.times(weight)
        (before, real_before), (after, real_after) = (measured_auroc(each, families) for each in (alone, joined))
        gain = float(np.mean([_on_family(joined, families, each) - _on_family(alone, families, each) for each in thin]))
        if real_before is not None and real_after is not None:
            gain = max(gain, real_after - real_before)
        if after >= before - LINES_COST and gain >= LINES_WORTH:
            recipe, alone = _with(recipe, trial.layer, weight), joined
    return recipe


def _scores_of(recipe: Recipe, trials: Sequence[Trial]) -> Scores | None:
    """What a recipe of tried layers makes of the sample; None where one was given up and cannot be compared."""
    scores = {(trial.layer.name, trial.layer.metric): trial.scores for trial in trials}
    found = [
        of_layer.times(layer.weight)
        for layer in recipe.layers
        if (of_layer := scores[layer.name, layer.metric]) is not None
    ]
    return reduce(add, found) if len(found) == len(recipe.layers) else None


def _with(recipe: Recipe, layer: Layer, weight: float) -> Recipe:
    return replace(recipe, layers=(*recipe.layers, replace(layer, weight=round(weight, 3))))


def _on_family(scores: Scores, families: NDArray[np.intp], family: int) -> float:
    return _auroc(scores.normals, scores.spoilt[families == family])


def _usual_behind(trials: Sequence[Trial]) -> float:
    """By how much AUROC the layers of `DEFAULT_RECIPE` are behind the best candidate; infinity where one is untried."""
    usual = [trial.auroc for trial in trials if trial.layer in DEFAULT_RECIPE.layers]
    if len(usual) < len(DEFAULT_RECIPE.layers):
        return float("inf")
    return max(trial.auroc for trial in trials) - sum(usual) / len(usual)


def _half_and_half(one: Recipe, other: Recipe) -> Recipe:
    """Both recipes' layers, each recipe with half of all weight; what both have is there once."""
    weights: dict[Layer, float] = {}
    count = len({replace(layer, weight=1.0) for layer in (*one.layers, *other.layers)})
    for recipe in (one, other):
        whole = sum(layer.weight for layer in recipe.layers)
        for layer in recipe.layers:
            plain = replace(layer, weight=1.0)
            weights[plain] = weights.get(plain, 0.0) + layer.weight / whole * count / 2
    layers = sorted(weights, key=lambda layer: layer.input_size)
    return replace(one, layers=tuple(replace(layer, weight=round(weights[layer], 3)) for layer in layers))


def _usual(trials: Sequence[Trial], costs: dict[int, float], max_ms: float | None) -> Recipe:
    """`DEFAULT_RECIPE`, and its layers at the next larger size that was tried where they do as well there.

    On tiles split by part, two sizes tell good pictures from bad no better than the smaller one (image AUROC .883
    both), and where far better: AU-PRO .739 instead of .702. They cost twice as much; `max_ms` takes them back to one.
    """
    taps = {layer.tap for layer in DEFAULT_RECIPE.layers}
    small, *larger = sorted({trial.input_size for trial in trials})
    mean = {size: _mean_auroc([trial for trial in trials if trial.input_size == size], taps) for size in costs}
    if not larger or (max_ms is not None and costs[small] + costs[larger[0]] > max_ms):
        return DEFAULT_RECIPE
    if mean[larger[0]] < mean[small] - TIE:
        return DEFAULT_RECIPE
    again = tuple(replace(layer, input_size=larger[0]) for layer in DEFAULT_RECIPE.layers)
    return replace(DEFAULT_RECIPE, layers=DEFAULT_RECIPE.layers + again)


def _with_best_beside(usual: Recipe, trials: Sequence[Trial]) -> Recipe:
    """The usual recipe, and the best of the other candidates at its sizes if drawn defects speak for that at all."""
    sizes = {layer.input_size for layer in usual.layers}
    others = [trial for trial in trials if trial.input_size in sizes and trial.layer not in usual.layers]
    best = max((trial for trial in others if trial.scores is not None), key=lambda trial: trial.auroc, default=None)
    if best is None or best.auroc < np.mean([trial.auroc for trial in trials if trial.layer in usual.layers]):
        return usual
    return _with(usual, best.layer, BESIDE * sum(layer.weight for layer in usual.layers))


def _mean_auroc(trials: Sequence[Trial], taps: set[str]) -> float:
    """Over the trials of these taps; 0 where one of them was not tried to the end."""
    found = [trial.auroc for trial in trials if trial.layer.tap in taps and trial.scores is not None]
    return sum(found) / len(found) if len(found) == len(taps) else 0.0


def measured_auroc(scores: Scores, families: NDArray[np.intp]) -> tuple[float, float | None]:
    """Mean AUROC over the families drawn, each family weighing the same, and AUROC on real defects.

    The first is the mean of both where there are real ones.
    """
    drawn = float(np.mean([_on_family(scores, families, family) for family in np.unique(families)]))
    if not len(scores.abnormals):
        return drawn, None
    real = _auroc(scores.normals, scores.abnormals)
    return (drawn + real) / 2, real


def _shares(trials: Sequence[Trial]) -> list[tuple[Trial, float]]:
    """Each candidate's weight, the best one's being 1; what weighs too little is left out."""
    best = max(trial.auroc for trial in trials)
    weights = [(trial, float(np.exp((trial.auroc - best) / TEMPERATURE))) for trial in trials]
    return [(trial, weight) for trial, weight in weights if weight >= LEAST_SHARE]


def _shared_auroc(shares: Sequence[tuple[Trial, float]], families: NDArray[np.intp]) -> float:
    scores = [trial.scores.times(weight) for trial, weight in shares if trial.scores is not None]
    return measured_auroc(reduce(add, scores), families)[0]


def _recipe(shares: Sequence[tuple[Trial, float]]) -> Recipe:
    scale = len(shares) / sum(weight for _, weight in shares)  # as if all weighed 1: thresholds stay of that order
    return Recipe(layers=tuple(replace(trial.layer, weight=round(weight * scale, 3)) for trial, weight in shares))


def _subsets(sizes: Sequence[int]) -> list[tuple[int, ...]]:
    return [tuple(size for bit, size in enumerate(sizes) if number >> bit & 1) for number in range(1, 1 << len(sizes))]


def _auroc(normals: NDArray[np.float32], defective: NDArray[np.float32]) -> float:
    found = auroc(np.concatenate([normals, defective]), np.arange(len(normals) + len(defective)) >= len(normals))
    return 0.5 if found is None else found
