"""Detectors that learn from the good pictures alone: ours, and three well-known ones on the same backbone.

The defective pictures among a split's training ones are not looked at. All take their threshold by the same rule: of
the good training pictures, each scored by a model that has not seen it, `FALSE_REJECT_RATE` are above.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf

from services.trainer.evaluation.ablation.dataset import Dataset
from services.trainer.evaluation.ablation.features import (
    BEFORE_LAST,
    EARLY,
    LAST,
    MIDDLE,
    TIMED,
    TRUNK,
    Features,
    backbone_parameters,
    milliseconds,
)
from services.trainer.evaluation.ablation.results import Outcome
from services.trainer.evaluation.ablation.splits import Split
from services.trainer.normality.cross_fit import split_into_folds
from services.trainer.normality.layers import Normality
from services.trainer.progress import silent
from shared.events import FeatureGrid
from shared.vision.memory_bank import MAX_CANDIDATES, MAX_VECTORS, greedy_coreset
from shared.vision.recipe import Recipe

FALSE_REJECT_RATE = 0.05  # low, and still a few pictures of every hundred to take it from
FOLDS = 4  # that scores of unseen good pictures are taken from
PADIM_CHANNELS = 100  # random ones of all, as PaDiM keeps of a ResNet18's
PADIM_RIDGE = 0.01  # on every covariance, as there
OURS = Recipe(layers=(MIDDLE, BEFORE_LAST))

Indices = NDArray[np.intp]


class Judge(Protocol):
    """A detector that has learnt."""

    numbers: int
    """What it keeps besides the backbone."""

    def scores(self, pictures: Indices) -> NDArray[np.float32]:
        """(n,) of pictures by index: the higher, the more anomalous."""


class Detectors:
    """The family, ready to run on any split."""

    def __init__(self, features: Features, dataset: Dataset, seed: int) -> None:
        self._features = features
        self._dataset = dataset
        self._seed = seed
        self._backbone = (backbone_parameters(), features.ms_per_image)

    def run(self, row: str, split: Split) -> Outcome:
        """Learn from the good training pictures, judge the test ones."""
        normals = split.train[~self._dataset.defective[split.train]]
        groups = self._groups(normals, split)
        seed = self._seed + split.number
        if row == "ours":
            ours = _Ours(self._features, normals, groups, seed)
            judge: Judge = ours
            held_out = ours.held_out
        else:
            make = _LEARNERS[row](self._features, seed)
            folds = split_into_folds(groups, folds=FOLDS, seed=seed)
            held_out = np.empty(len(normals), np.float32)
            for fold in range(int(folds.max()) + 1):
                held_out[folds == fold] = make(normals[folds != fold]).scores(normals[folds == fold])
            judge = make(normals)
        threshold = np.quantile(held_out, 1 - FALSE_REJECT_RATE)
        scores = judge.scores(split.test)
        parameters, backbone_ms = self._backbone
        return Outcome(
            scores=scores,
            rejected=scores > threshold,
            parameters=parameters + judge.numbers,
            ms_per_image=backbone_ms + milliseconds(judge.scores, split.test[:TIMED, None]),
            notes={"how": f"good pictures only, threshold for {FALSE_REJECT_RATE:.0%} false rejects"},
        )

    def _groups(self, pictures: Indices, split: Split) -> tuple[str, ...]:
        """In a random split no groups are known: thresholds are taken as if there were none.

        Nor can a group be held out from itself, where a split of two groups has left one to train on.
        """
        alone = tuple(str(picture) for picture in pictures)
        if split.kind == "random" or self._dataset.groups is None:
            return alone
        groups = tuple(self._dataset.groups[picture] for picture in pictures)
        return groups if len(set(groups)) > 1 else alone


class _Ours:
    """What `chipsieve train` makes of good pictures, by the same code."""

    def __init__(self, features: Features, normals: Indices, groups: Sequence[str], seed: int) -> None:
        self._patches = [features.patches(layer) for layer in OURS.layers]
        folds = split_into_folds(groups, seed=seed)
        self._normality = Normality.learn(self._grids(normals), OURS, folds, seed=seed, progress=silent)
        self.held_out = self._normality.scores
        self.numbers = sum(layer.numbers for layer in self._normality.layers)

    def scores(self, pictures: Indices) -> NDArray[np.float32]:
        """As `Judge.scores`."""
        return self._normality.anomaly_scores(self._grids(pictures))

    def _grids(self, pictures: Indices) -> list[tuple[FeatureGrid, ...]]:
        return [
            tuple(
                FeatureGrid(
                    layer=layer.name,
                    height=patches.values.shape[1],
                    width=patches.values.shape[2],
                    channels=patches.values.shape[3],
                    values=patches.values[picture].tobytes(),
                    scales=patches.scales[picture].astype("<f4").tobytes(),
                )
                for layer, patches in zip(OURS.layers, self._patches, strict=True)
            )
            for picture in pictures
        ]


class _PatchCore:
    """Coreset of patches of two taps side by side, Euclidean distance, the largest of a picture (Roth et al. 2022).

    The largest distance is weighted as there, by how lonely its nearest vector is in the bank.
    """

    def __init__(self, patches: NDArray[np.float32], normals: Indices, seed: int) -> None:
        self._patches = patches
        vectors = patches[normals].reshape(-1, patches.shape[-1])
        random = np.random.default_rng(seed)
        if len(vectors) > MAX_CANDIDATES:
            vectors = vectors[random.choice(len(vectors), MAX_CANDIDATES, replace=False)]
        self._bank = vectors[greedy_coreset(vectors, MAX_VECTORS, seed=seed)]
        self._squares = np.einsum("mc,mc->m", self._bank, self._bank)
        self.numbers = self._bank.size

    def scores(self, pictures: Indices) -> NDArray[np.float32]:
        """As `Judge.scores`."""
        return np.array([self._score(self._patches[picture]) for picture in pictures], np.float32)

    def _score(self, patches: NDArray[np.float32]) -> float:
        vectors = patches.reshape(-1, patches.shape[-1])
        squared = self._squared(vectors)
        nearest = squared.argmin(axis=1)
        worst = int(squared[np.arange(len(vectors)), nearest].argmax())
        distances = np.sqrt(squared[worst])
        neighbours = np.argsort(self._squared(self._bank[nearest[worst]][None])[0])[:9]  # 9, as the authors' code
        largest = distances[nearest[worst]]
        weight = 1 - 1 / np.exp(distances[neighbours] - largest).sum()
        return float(weight * largest)

    def _squared(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        own = np.einsum("pc,pc->p", vectors, vectors)[:, None]
        return np.maximum(own + self._squares - 2 * vectors @ self._bank.T, 0)  # type: ignore[no-any-return]


class _PaDiM:
    """A Gaussian of random channels at every place of the grid, the largest distance (Defard et al. 2020)."""

    def __init__(self, patches: NDArray[np.float32], normals: Indices) -> None:
        self._patches = patches
        seen = patches[normals].reshape(len(normals), -1, patches.shape[-1]).transpose(1, 0, 2)  # place, picture, C
        self._means = seen.mean(axis=1)
        centred = seen - self._means[:, None]
        covariances = centred.transpose(0, 2, 1) @ centred / max(len(normals) - 1, 1)
        covariances += PADIM_RIDGE * np.eye(patches.shape[-1], dtype=np.float32)
        # The distance is the length of the residual in the basis where the covariance is one.
        self._whiteners = np.linalg.inv(np.linalg.cholesky(covariances))
        self.numbers = self._means.size + self._whiteners.size

    def scores(self, pictures: Indices) -> NDArray[np.float32]:
        """As `Judge.scores`."""
        return np.array([self._score(self._patches[picture]) for picture in pictures], np.float32)

    def _score(self, patches: NDArray[np.float32]) -> float:
        residuals = patches.reshape(-1, patches.shape[-1]) - self._means
        return float(np.linalg.norm(np.einsum("pij,pj->pi", self._whiteners, residuals), axis=1).max())


class _Mahalanobis:
    """One Gaussian of whole pictures' mean features, its covariance shrunk (Rippel et al. 2021)."""

    def __init__(self, pooled: NDArray[np.float32], normals: Indices) -> None:
        self._pooled = pooled
        self._gaussian = LedoitWolf().fit(pooled[normals])
        self.numbers = self._gaussian.location_.size + self._gaussian.precision_.size

    def scores(self, pictures: Indices) -> NDArray[np.float32]:
        """As `Judge.scores`."""
        return np.sqrt(self._gaussian.mahalanobis(self._pooled[pictures])).astype(np.float32)  # type: ignore[no-any-return]


Learner = Callable[[Indices], Judge]


def _patchcore(features: Features, seed: int) -> Learner:
    patches = _side_by_side(features)
    return lambda normals: _PatchCore(patches, normals, seed)


def _padim(features: Features, seed: int) -> Learner:
    patches = _side_by_side(features)
    channels = patches.shape[-1]
    kept = np.random.default_rng(seed).choice(channels, min(PADIM_CHANNELS, channels), replace=False)
    kept_patches = np.ascontiguousarray(patches[..., np.sort(kept)])
    return lambda normals: _PaDiM(kept_patches, normals)


def _mahalanobis(features: Features, seed: int) -> Learner:  # noqa: ARG001 - learns without chance
    pooled = np.concatenate([features.grids(layer).mean(axis=(1, 2)) for layer in (MIDDLE, BEFORE_LAST, LAST)], axis=1)
    return lambda normals: _Mahalanobis(pooled, normals)


_LEARNERS: dict[str, Callable[[Features, int], Learner]] = {
    "patchcore": _patchcore,
    "padim": _padim,
    "mahalanobis": _mahalanobis,
}


def _side_by_side(features: Features) -> NDArray[np.float32]:
    """(N, h, w, C) float32: an early and a middle tap at the middle one's grid, averaged over neighbouring patches."""
    height, width = features.patches(TRUNK).scales.shape[1:]
    parts = [_averaged(_shrunk(features.grids(EARLY), height, width)), _averaged(features.grids(TRUNK))]
    return np.concatenate(parts, axis=-1)


def _shrunk(grids: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """The mean over the patches that make one of a grid of height x width."""
    count, tall, wide, channels = grids.shape
    blocks = grids.reshape(count, height, tall // height, width, wide // width, channels)
    return blocks.mean(axis=(2, 4))  # type: ignore[no-any-return]


def _averaged(grids: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean over each patch and its neighbours, edges repeated."""
    padded = np.pad(grids, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    height, width = grids.shape[1:3]
    shifted = [padded[:, y : y + height, x : x + width] for y in range(3) for x in range(3)]
    total = shifted[0].copy()
    for each in shifted[1:]:
        total += each
    return total / np.float32(9)
