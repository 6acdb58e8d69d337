"""A small supervised head: how much a chip looks like the defects that were shown, and like which kind of them.

Kernel ridge classification, that is a least-squares support vector machine (Suykens & Vandewalle, "Least squares
support vector machine classifiers", 1999), on the means and standard deviations of the recipe's features over each
picture. It is plain arrays: nothing but numpy is needed to judge with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.vision.calibration import Spread
from shared.vision.errors import UnusableFeatures
from shared.vision.recipe import Layer, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadFigures:
    """What a head is beside its arrays; goes into the manifest."""

    weight: float
    """What one deviation of the head's answer adds to the anomaly score."""
    spread: Spread
    """Of the head's answers to normals that it was not fitted to."""
    gamma: float
    """Of the kernel exp(-gamma x squared distance of standardised descriptions)."""
    offsets: tuple[float, ...]
    """Answers far from everything that was shown: one for *defective*, then one a kind."""
    kinds: tuple[str, ...]
    """Names of the kinds of defect; empty where none were told."""

    def __post_init__(self) -> None:
        if len(self.offsets) != 1 + len(self.kinds):
            raise ValueError(f"a head of {len(self.kinds)} kinds has {len(self.offsets)} offsets")


@dataclass(frozen=True, eq=False)
class Head:
    """A fitted head."""

    figures: HeadFigures
    centre: NDArray[np.float32]
    """(D,) mean description of normals."""
    scale: NDArray[np.float32]
    """(D,) its standard deviation, never zero."""
    support: NDArray[np.float16]
    """(M, D) standardised descriptions of the pictures that it was fitted to."""
    coefficients: NDArray[np.float32]
    """(M, 1 + K): weight of each of them in each answer."""

    def __post_init__(self) -> None:
        parts = (self.centre, self.scale, self.support, self.coefficients)
        kinds = [(part.dtype.name, part.ndim) for part in parts]
        if kinds != [("float32", 1), ("float32", 1), ("float16", 2), ("float32", 2)]:
            raise ValueError(f"a head of {kinds}: centre, scale and coefficients are float32, support float16")
        pictures, features = self.support.shape
        answers = 1 + len(self.figures.kinds)
        if self.centre.shape != (features,) or self.scale.shape != (features,):
            raise ValueError(f"a head over {features} features centres {self.centre.shape}, scales {self.scale.shape}")
        if self.coefficients.shape != (pictures, answers):
            raise ValueError(f"a head of {pictures} pictures and {answers} answers weighs {self.coefficients.shape}")
        if not (self.scale > 0).all():
            raise ValueError("a head scales by a number that is not positive")

    def answers(self, descriptions: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, 1 + K) float32: for *defective*, then for each kind; about -1 for no and 1 for yes.

        Raises:
            UnusableFeatures: descriptions (N, D) of another length.
        """
        if descriptions.shape[1:] != self.centre.shape:
            raise UnusableFeatures(
                f"descriptions {descriptions.shape} do not fit a head of {len(self.centre)} features"
            )
        standardised = (descriptions - self.centre) / self.scale
        similarities = kernel(standardised, self.support.astype(np.float32), self.figures.gamma)
        # As in `kernel`: no BLAS, so that a chip's answers do not depend on the chips beside it.
        answers: NDArray[np.float32] = np.einsum("nm,mk->nk", similarities, self.coefficients)
        return answers + np.array(self.figures.offsets, np.float32)

    def scores(self, answers: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N,) float32: what the head adds to the anomaly score."""
        return np.float32(self.figures.weight) * self.figures.spread.standardise(answers[:, 0])

    def kinds(self, answers: NDArray[np.float32]) -> list[str | None]:
        """The kind of defect that each chip looks like most, should it be defective."""
        names = self.figures.kinds
        if not names:
            return [None] * len(answers)
        return [names[best] for best in answers[:, 1:].argmax(axis=1)]


def described_layers(recipe: Recipe) -> list[Layer]:
    """The layers that pictures are described by: the recipe's, each grid once."""
    return list({layer.name: layer for layer in recipe.layers}.values())


def describe(features: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """(N, D) descriptions of pictures: mean and standard deviation over patches, of every (N, h, w, C) layer."""
    return np.concatenate(
        [figure for layer in features for figure in (layer.mean(axis=(1, 2)), layer.std(axis=(1, 2)))],
        axis=1,
        dtype=np.float32,
    )


def kernel(left: NDArray[np.float32], right: NDArray[np.float32], gamma: float) -> NDArray[np.float32]:
    """(N, M) float32 similarities, 0 to 1, of (N, D) and (M, D) standardised descriptions.

    Not by BLAS, which adds up in another order for one row than for several, and for two threads than for one: a
    verdict is to be recomputed to the last bit. It costs a tenth of a millisecond a chip against a thousand others.
    """
    squared = np.einsum("nd,nd->n", left, left)[:, None] + np.einsum("md,md->m", right, right)
    squared -= np.float32(2) * np.einsum("nd,md->nm", left, right)
    similarities: NDArray[np.float32] = np.exp(np.float32(-gamma) * np.maximum(squared, np.float32(0)))
    return similarities
