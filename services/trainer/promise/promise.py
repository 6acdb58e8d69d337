"""Thresholds that keep a promise, from held-out scores; and how much those scores can promise.

Where every picture stands for itself the promise is exact and needs no assumption but that new pictures are like the
held-out ones: the share of new ones above the r-th largest of n scores is Beta(r, n - r + 1) whatever the scores'
distribution (Vovk, "Conditional validity of inductive conformal predictors", 2012).

Pictures of one group (one part under several exposures, one batch, one day) are alike, so that a hundred of them may
tell no more than ten from ten groups. The binomial bound is then taken over the *effective* number of pictures, as in
surveys of clusters (Korn & Graubard, "Confidence intervals for proportions with small expected number of positive
counts estimated from survey data", 1998): the number of pictures divided by the design effect 1 + (m - 1) x ICC, m the
size of a group and ICC the correlation within groups, and corrected by Student's t for how few the groups are. Were
the pictures of a group all the same, this is the binomial bound over groups. And as a run of new pictures comes in
groups too, few of them at a time, the promise covers such a run, not only the rate over the years. What it assumes:
that groups to come differ among each other as those did that were seen.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaincinv, ndtri, stdtrit
from scipy.stats import rankdata

from shared.vision.promise import Promise, Subject

CONFIDENCE = 0.95  # where none is asked for: one calibration in twenty may break its promise
# A run that is promised for has at least a tenth as many groups as the calibration. Groups may be alike themselves
# (parts of one shift), so that ten of them tell no more than five: with a fifth, one promise in eight broke where
# groups come in pairs.
RUN_SHARE = 0.1
QUADRATURE = (np.arange(100) + 0.5) / 100  # levels at which the unknown rate is integrated over: error below 0.001
PRECISION = 1e-6  # of a rate that can be promised
# At even odds Student's t is 0 whatever the degrees of freedom, and how two of them compare is 0 / 0. This near, their
# ratio has come to its limit there, which is not 1: few groups tell less at any odds.
ABOVE_EVEN = 0.5 + 1e-6


@dataclass(frozen=True, slots=True)
class Evidence:
    """How much held-out pictures can tell of new ones."""

    pictures: int
    groups: int | None
    """None where each picture stands for itself."""
    effective: float
    """Independent pictures that would tell as much."""

    def __post_init__(self) -> None:
        if not 0 < self.effective <= self.pictures:  # from what is no number, no number of groups would be enough
            raise ValueError(f"{self.pictures} pictures are worth {self.effective} independent ones")

    @classmethod
    def of(cls, scores: NDArray[np.float32], groups: Sequence[str] | None, rate: float, confidence: float) -> Self:
        """Of (N,) scores.

        Args:
            scores: held-out ones; the larger, the farther on the wrong side.
            groups: each picture's group; None, or a group a picture, where each stands for itself.
            rate: correlation is measured at the largest scores too, as many as this share of all.
            confidence: of the promise that is to rest on it.
        """
        number = len(scores)
        if groups is None or len(set(groups)) == number:
            return cls(number, None, number)
        group_of = np.unique(np.asarray(groups, str), return_inverse=True)[1]
        sizes = np.bincount(group_of)
        if len(sizes) == 1:
            return cls(number, 1, 1)
        middle = ndtri((rankdata(scores) - 0.5) / number)
        tail = rankdata(scores, method="ordinal") > number - max(1, round(rate * number))
        correlation = max(_intraclass(middle, group_of), _intraclass(tail.astype(np.float64), group_of))
        design_effect = 1 + (float((sizes**2).sum()) / number - 1) * correlation
        level = max(confidence, ABOVE_EVEN)
        few_groups = (stdtrit(number - 1, level) / stdtrit(len(sizes) - 1, level)) ** 2
        return cls(number, len(sizes), min(number / design_effect * float(few_groups), number))

    def carries(
        self, rate: float, confidence: float, tolerated: int, *, times: float = 1, level: float | None = None
    ) -> bool:
        """Whether `rate` can be promised with `tolerated` of the pictures beyond the threshold.

        Args:
            rate: to be promised.
            confidence: of the promise.
            tolerated: held-out pictures above the threshold.
            times: as if there were so many times as many groups, or pictures.
            level: of the bound on the rate over the years, where it must be surer than `confidence`
                (`services.trainer.promise.selection`).
        """
        effective = self.effective * times
        wrong = tolerated * self.effective / self.pictures
        if wrong >= effective:
            return False
        if betaincinv(wrong + 1, effective - wrong, level or confidence) > rate:
            return False
        if self.groups is None:
            return True
        run = effective * RUN_SHARE
        allowed = rate * run + 0.5  # continuity: a count just above what is allowed begins half way to the next
        if allowed >= run + 1:
            return True
        rates = betaincinv(wrong + 1, effective - wrong, QUADRATURE)
        return float(betainc(allowed, run - allowed + 1, rates).mean()) <= 1 - confidence

    def lowest_rate(self, confidence: float, tolerated: int, *, level: float | None = None) -> float:
        """The lowest rate that can be promised with `tolerated` of the pictures beyond the threshold; 1 at worst.

        `level` is that of `carries`.
        """
        low, high = 0.0, 1.0
        while high - low > PRECISION:
            middle = (low + high) / 2
            if self.carries(middle, confidence, tolerated, level=level):
                high = middle
            else:
                low = middle
        return high

    def needed(self, rate: float, confidence: float) -> int:
        """Groups like these, or pictures where there are no groups, from which `rate` can be promised."""
        if self.groups is None:
            return normals_needed(rate, confidence)
        low, high = 0.0, 1.0
        while not self.carries(rate, confidence, 0, times=high):
            low, high = high, 2 * high
        while (high - low) * self.groups > 0.5:
            middle = (low + high) / 2
            low, high = (low, middle) if self.carries(rate, confidence, 0, times=middle) else (middle, high)
        return math.ceil(high * self.groups)


def promised_threshold(
    scores: NDArray[np.float32],
    rate: float,
    confidence: float = CONFIDENCE,
    *,
    groups: Sequence[str] | None = None,
    subject: Subject = "rejects",
) -> tuple[float, Promise]:
    """The lowest held-out score that keeps the promise.

    Where none does, the lowest by which new pictures exceed the rate no more often than not: in the mean over
    calibrations at most `rate` of single new ones lie above it (split-conformal), or the largest there is; the promise
    then says what that one keeps.

    Args:
        scores: (N,) held-out scores, N >= 1.
        rate: share of new pictures that may lie above the threshold, between 0 and 1.
        confidence: of the promise.
        groups: each picture's group, where pictures of a group are alike.
        subject: what it is that lies above.
    """
    ordered = np.sort(scores)[::-1]
    evidence = Evidence.of(scores, groups, rate, confidence)
    kept = evidence.carries(rate, confidence, 0)
    if kept:
        tolerated = 0
        while tolerated + 1 < len(ordered) and evidence.carries(rate, confidence, tolerated + 1):
            tolerated += 1
    else:
        tolerated = max(0, math.floor(rate * (len(ordered) + 1) + 1e-9) - 1)
    promise = Promise(
        subject=subject,
        asked_rate=rate,
        promised_rate=rate if kept else evidence.lowest_rate(confidence, tolerated),
        confidence=confidence,
        pictures=len(ordered),
        tolerated=tolerated,
        groups=evidence.groups,
        effective=evidence.effective if evidence.groups is not None else None,
        lowest_rate=None if kept else evidence.lowest_rate(confidence, 0),
        needed=None if kept else evidence.needed(rate, confidence),
    )
    return float(ordered[tolerated]), promise


def normals_needed(rate: float, confidence: float = CONFIDENCE) -> int:
    """The fewest independent pictures from which `rate` can be promised: 299 for 1 % at 95 % confidence."""
    return math.ceil(math.log(1 - confidence) / math.log(1 - rate))


def _intraclass(values: NDArray[np.float64], group_of: NDArray[np.intp]) -> float:
    """Intraclass correlation of (N,) values by one-way analysis of variance, between 0 and 1."""
    sizes = np.bincount(group_of)
    number, groups = len(values), len(sizes)
    means = np.bincount(group_of, weights=values) / sizes
    between = float((sizes * (means - values.mean()) ** 2).sum()) / (groups - 1)
    within = float(((values - means[group_of]) ** 2).sum()) / (number - groups)
    size = (number - float((sizes**2).sum()) / number) / (groups - 1)
    total = between + (size - 1) * within
    return min(1.0, max(0.0, (between - within) / total)) if total > 0 else 1.0
