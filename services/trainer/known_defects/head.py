"""Learning from pictures of defects: a head that joins the anomaly score where cross-validation says that it helps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.trainer.known_defects.joining import Joining
from shared.events import FeatureGrid
from shared.vision.calibration import Spread
from shared.vision.head import Head, HeadFigures, describe, described_layers, kernel
from shared.vision.inspection import layer_patches
from shared.vision.recipe import Recipe

MAX_NORMALS = 3000  # that a head is fitted to: more cost time at every chip and move little
RIDGE = 0.1  # of targets -1 and 1; .01 to 1 do about as well
WEIGHTS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # tried for the head, in deviations against the anomaly score's
# Noise of a gain in AUROC below which any gain counts: a head that hardly helps with held-out defects, which are like
# those that taught it, helps more with new parts' (on tiles split by part from .915 to .928).
QUIET = 0.005
SCALE_FLOOR = 1e-6
# Where normals are all the same, a defect is farther from them than float16 can tell, and infinity is no description.
FARTHEST = np.finfo(np.float16).max
KINDS_NOISE = 2.0  # standard errors of the share named right, beyond which a head names kinds
CHUNK = 64  # pictures described at once: bounds what is held as float32


@dataclass(frozen=True, slots=True)
class Shown:
    """Pictures that a head may learn from, the normals first."""

    descriptions: NDArray[np.float32]
    """(N, D)."""
    fold_of: NDArray[np.intp]
    """(N,): those of one fold are answered for by a head that has seen none of them."""
    scores: NDArray[np.float32]
    """(N,) held-out anomaly scores."""
    kinds: tuple[str, ...]
    """Of each abnormal picture; empty where it has no name."""

    @property
    def is_abnormal(self) -> NDArray[np.bool_]:
        """(N,)."""
        return np.arange(len(self.scores)) >= len(self.scores) - len(self.kinds)


@dataclass(frozen=True, slots=True)
class Trial:
    """What cross-validation says of a head."""

    head: Head | None
    """None where it adds nothing; of no weight where it names kinds and no more."""
    scores: NDArray[np.float32]
    """(N,) held-out scores: with the head where it joins."""
    report: dict[str, Any]
    """Plain JSON."""


def describe_all(grids_per_chip: Sequence[tuple[FeatureGrid, ...]], recipe: Recipe) -> NDArray[np.float32]:
    """(N, D) descriptions by the recipe's layers."""
    layers = described_layers(recipe)
    chunks = [grids_per_chip[start : start + CHUNK] for start in range(0, len(grids_per_chip), CHUNK)]
    return np.concatenate([describe([layer_patches(chunk, layer).features for layer in layers]) for chunk in chunks])


def try_head(shown: Shown, *, seed: int = 0) -> Trial:
    """Fit a head, and take it where it tells normal from abnormal better than the anomaly score.

    Where pictures are few, and the gain therefore noisy, it must be beyond noise.

    Args:
        shown: normals and abnormals, of either as many as can be parted.
        seed: of the normals that it is fitted to where they are many, and of the bootstrap.
    """
    defective = shown.is_abnormal
    fitting = _Fitting.of(shown, seed)
    answers = fitting.held_out()
    joining = Joining.best(shown.scores, answers[:, 0], defective, WEIGHTS, seed)
    report = joining.report | {
        "joined": joining.gain > (joining.noise if joining.noise > QUIET else 0),
        "kinds": list(fitting.kinds),
        "kinds_right": fitting.kinds_right(answers),
    }
    if report["joined"]:
        return Trial(fitting.head(joining.weight, joining.spread), joining.scores, report)
    if fitting.names_kinds(answers):
        return Trial(fitting.head(0.0, joining.spread), shown.scores, report)
    return Trial(None, shown.scores, report)


@dataclass(frozen=True, slots=True)
class Refitted:
    """A head that has seen more normals, and its answers to pictures as if it had not seen them."""

    head: Head
    normals: NDArray[np.float32]
    """(n,) to the normals that were added, each group left out."""
    defects: NDArray[np.float32]
    """(A,) to the known defects, each left out, and with it those of its group."""


def refit(
    head: Head,
    defects: int,
    descriptions: NDArray[np.float32],
    groups: Sequence[str],
    *,
    defect_groups: Sequence[str] | None = None,
    seed: int = 0,
) -> Refitted:
    """Fit a head again with more normals. What it says of kinds stays, and so does the unit of its answers.

    Args:
        head: fitted to normals and, after them, to the known defects.
        defects: how many those are.
        descriptions: (n, D) of the normals to add.
        groups: each of those normals' group.
        defect_groups: each known defect's; None where each stands for itself.
        seed: of the old normals that make room, where there are more than `MAX_NORMALS`.
    """
    new = _standardised(descriptions, head.centre, head.scale)
    old = head.support[:-defects]
    room = max(0, MAX_NORMALS - len(new))
    if len(old) > room:
        old = old[np.sort(np.random.default_rng(seed).choice(len(old), room, replace=False))]
    support = np.concatenate([old, new, head.support[-defects:]])
    abnormal = np.arange(len(support)) >= len(support) - defects
    rounded = support.astype(np.float32)
    gram = kernel(rounded, rounded, head.figures.gamma).astype(np.float64) + np.diag(_penalties(abnormal))
    inverse = np.linalg.inv(gram)
    targets = np.where(abnormal, 1.0, -1.0)
    solved = inverse @ targets
    answers = targets - solved / np.diag(inverse)  # each picture's with the picture left out, in closed form
    for first, names in ((len(old), groups), (len(support) - defects, defect_groups or ())):
        for group in set(names):
            members = first + np.flatnonzero(np.array(names) == group)
            block = inverse[np.ix_(members, members)]
            answers[members] = targets[members] - np.linalg.solve(block, solved[members])
    coefficients = np.zeros((len(support), head.coefficients.shape[1]), np.float32)
    coefficients[:, 0] = solved
    coefficients[-defects:, 1:] = head.coefficients[-defects:, 1:]
    return Refitted(
        head=Head(head.figures, head.centre, head.scale, support, coefficients),
        normals=answers[len(old) : len(old) + len(new)].astype(np.float32),
        defects=answers[-defects:].astype(np.float32),
    )


def _standardised(
    descriptions: NDArray[np.float32], centre: NDArray[np.float32], scale: NDArray[np.float32]
) -> NDArray[np.float16]:
    return np.clip((descriptions - centre) / scale, -FARTHEST, FARTHEST).astype(np.float16)  # type: ignore[no-any-return]  # numpy types a clip as Any


def _penalties(abnormal: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Few defects are to count as much as many normals, each of them therefore more."""
    share = abnormal.sum() / max((~abnormal).sum(), 1)
    return np.where(abnormal, RIDGE * share, RIDGE)


@dataclass(frozen=True, slots=True)
class _Fitting:
    """One kernel matrix for all folds and for the head that is kept."""

    shown: Shown
    chosen: NDArray[np.intp]
    """Pictures that may be fitted to."""
    centre: NDArray[np.float32]
    scale: NDArray[np.float32]
    gamma: float
    standardised: NDArray[np.float16]
    similarities: NDArray[np.float32]
    """(N, len(chosen))."""
    kinds: tuple[str, ...]

    @classmethod
    def of(cls, shown: Shown, seed: int) -> "_Fitting":
        abnormal = shown.is_abnormal
        normals = np.flatnonzero(~abnormal)
        if len(normals) > MAX_NORMALS:
            normals = np.sort(np.random.default_rng(seed).choice(normals, MAX_NORMALS, replace=False))
        chosen = np.concatenate([normals, np.flatnonzero(abnormal)])
        of_normals = shown.descriptions[~abnormal]
        centre, scale = of_normals.mean(axis=0), np.maximum(of_normals.std(axis=0), np.float32(SCALE_FLOOR))
        standardised = _standardised(shown.descriptions, centre, scale)
        rounded = standardised.astype(np.float32)
        gamma = 1 / max(float(rounded[chosen].var()) * rounded.shape[1], SCALE_FLOOR)  # the usual scale of distances
        kinds = tuple(sorted(set(shown.kinds) - {""}))
        return cls(
            shown=shown,
            chosen=chosen,
            centre=centre,
            scale=scale,
            gamma=gamma,
            standardised=standardised,
            similarities=kernel(rounded, rounded[chosen], gamma),
            kinds=kinds if len(kinds) > 1 else (),
        )

    def held_out(self) -> NDArray[np.float32]:
        """(N, 1 + K) answers, each by a head fitted to the other folds."""
        answers = np.empty((len(self.shown.scores), 1 + len(self.kinds)), np.float32)
        for fold in np.unique(self.shown.fold_of):
            out = self.shown.fold_of == fold
            coefficients, offsets = self._solve(~out[self.chosen])
            answers[out] = self.similarities[out] @ coefficients + offsets
        return answers

    def kinds_right(self, answers: NDArray[np.float32]) -> float | None:
        """Share of held-out abnormals with a name whose kind is named right."""
        named = [(index, kind) for index, kind in enumerate(self.shown.kinds) if kind in self.kinds]
        if not named:
            return None
        best = answers[self.shown.is_abnormal, 1:].argmax(axis=1)
        return float(np.mean([self.kinds[best[index]] == kind for index, kind in named]))

    def names_kinds(self, answers: NDArray[np.float32]) -> bool:
        """Whether held-out defects are named right more often, beyond noise, than by always naming the commonest."""
        named = [kind for kind in self.shown.kinds if kind in self.kinds]
        right = self.kinds_right(answers)
        if right is None:
            return False
        blind = max(named.count(kind) for kind in self.kinds) / len(named)
        return right > blind + KINDS_NOISE * math.sqrt(blind * (1 - blind) / len(named))

    def head(self, weight: float, spread: Spread) -> Head:
        """Fitted to all."""
        coefficients, offsets = self._solve(np.ones(len(self.chosen), np.bool_))
        figures = HeadFigures(
            weight=weight, spread=spread, gamma=self.gamma, offsets=tuple(offsets.tolist()), kinds=self.kinds
        )
        return Head(figures, self.centre, self.scale, self.standardised[self.chosen], coefficients)

    def _solve(self, fitted: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Coefficients (len(chosen), 1 + K), zero where not fitted, and offsets (1 + K,)."""
        coefficients = np.zeros((len(self.chosen), 1 + len(self.kinds)))
        offsets = np.zeros(1 + len(self.kinds))
        abnormal = self.shown.is_abnormal[self.chosen]
        abnormals = fitted & abnormal
        targets = np.where(abnormal, 1.0, -1.0)[fitted, None]
        coefficients[fitted, :1] = self._ridge(fitted, targets, _penalties(abnormal[fitted]))
        if self.kinds and abnormals.any():
            kinds = np.array([""] * int((~abnormal).sum()) + list(self.shown.kinds))
            targets = np.where(kinds[abnormals, None] == np.array(self.kinds), 1.0, -1.0)
            offsets[1:] = targets.mean(axis=0)
            coefficients[abnormals, 1:] = self._ridge(abnormals, targets - offsets[1:], np.full(abnormals.sum(), RIDGE))
        return coefficients.astype(np.float32), offsets.astype(np.float32)

    def _ridge(
        self, fitted: NDArray[np.bool_], targets: NDArray[np.float64], penalties: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        gram = self.similarities[np.ix_(self.chosen[fitted], np.flatnonzero(fitted))].astype(np.float64)
        return np.linalg.solve(gram + np.diag(penalties), targets)  # type: ignore[return-value]
