"""What scores mean: standardising from held-out normals, and thresholds with a stated promise."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95  # of the promise: one calibration in twenty may break it
STD_FLOOR = 1e-3  # distances below this are int8 noise: copies of one picture must not make all others infinitely odd


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Mean and standard deviation of a quantity over held-out normals."""

    mean: float
    std: float

    @classmethod
    def of(cls, values: NDArray[np.float32]) -> Self:
        """Spread of any array of distances; the standard deviation is at least `STD_FLOOR`."""
        return cls(mean=float(values.mean(dtype=np.float64)), std=max(float(values.std(dtype=np.float64)), STD_FLOOR))

    def standardise(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """(value - mean) / std, float32 of the same shape."""
        return ((values - np.float32(self.mean)) / np.float32(self.std)).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCalibration:
    """How one layer's distances are standardised before layers are added."""

    score: Spread
    """Of a picture's mean over its largest patch distances."""
    patch: Spread
    """Of single patches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What the threshold guarantees: for new normals like the held-out ones, with `confidence`, at most
    `promised_rate` of them score above it."""

    asked_rate: float
    promised_rate: float
    confidence: float
    normals: int
    """Held-out normals the threshold was taken from."""
    tolerated: int
    """How many of those scored above it."""

    @property
    def kept(self) -> bool:
        """Whether what was asked can be promised."""
        return self.promised_rate <= self.asked_rate

    def __str__(self) -> str:
        what = f"with {self.confidence:.0%} confidence at most {self.promised_rate:.3%} of normal pictures are rejected"
        if self.kept:
            return what
        return (
            f"{self.normals} normal pictures are too few to promise a false-reject rate of {self.asked_rate:.3%}: "
            f"{what}; {normals_needed(self.asked_rate, self.confidence)} would do"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """All that was learnt from held-out normals, one entry a layer in the recipe's order, and the promise."""

    layers: tuple[LayerCalibration, ...]
    promise: Promise

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return asdict(self)


def promised_threshold(
    scores: NDArray[np.float32], rate: float, confidence: float = CONFIDENCE
) -> tuple[float, Promise]:
    """The lowest held-out score that keeps the promise, else the largest and what that one promises.

    The share of new normals above the r-th largest of n held-out scores is Beta(r, n - r + 1) whatever the scores'
    distribution (Vovk, "Conditional validity of inductive conformal predictors", 2012), so that it stays below
    `rate` with probability P(Binomial(n, rate) >= r).

    Args:
        scores: (n,) held-out normal scores, n >= 1.
        rate: the false-reject rate asked for, between 0 and 1.
        confidence: of the promise.
    """
    ordered = np.sort(scores)[::-1]
    number = len(ordered)
    rank = 0  # of the largest scores, the one that is the threshold, from 1
    while rank < number and 1 - _binomial_below(rank + 1, number, rate) >= confidence:
        rank += 1
    kept = rank > 0
    rank = max(rank, 1)
    promised = rate if kept else 1 - (1 - confidence) ** (1 / number)
    promise = Promise(
        asked_rate=rate, promised_rate=promised, confidence=confidence, normals=number, tolerated=rank - 1
    )
    return float(ordered[rank - 1]), promise


def normals_needed(rate: float, confidence: float = CONFIDENCE) -> int:
    """The fewest held-out normals from which `rate` can be promised: 299 for 1 % at 95 % confidence."""
    return math.ceil(math.log(1 - confidence) / math.log(1 - rate))


def _binomial_below(successes: int, trials: int, probability: float) -> float:
    """P(Binomial(trials, probability) < successes), summed in logarithms so that no factor overflows."""
    log_p, log_q = math.log(probability), math.log1p(-probability)
    return math.fsum(
        math.exp(
            math.lgamma(trials + 1)
            - math.lgamma(hits + 1)
            - math.lgamma(trials - hits + 1)
            + hits * log_p
            + (trials - hits) * log_q
        )
        for hits in range(successes)
    )
