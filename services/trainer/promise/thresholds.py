"""The threshold between pass and reject: what was asked for, what the held-out scores can promise, and refusing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.trainer.errors import PromiseRefused
from services.trainer.promise.promise import CONFIDENCE, Evidence, normals_needed, promised_threshold
from services.trainer.promise.selection import level_for_all
from shared.vision.promise import Promise, in_percent

RATE = 0.01  # of false rejects, where none is asked for
# Where nothing is asked for by name and defects are known, the threshold has the best F1 on held-out pictures, but
# rejects no more of the normals among them than this share. The fewest mistakes in all would let most defects pass
# where good pictures are many: on tiles split by part, F1 .46 and a recall of .29 on new pictures, where this has .73.
MISTAKEN_NORMALS = 0.1
# A threshold with this share of the best F1 is as good: the very best is where chance has placed a few of the scores.
AS_GOOD = 0.98
MASKED_NORMALS = 0.05  # share of good pictures that may show a mask: rejects show theirs, good chips rarely one


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a person asks a threshold to keep. What they name is kept or refused; what they leave open is tried for."""

    false_reject_rate: float | None = None
    confidence: float | None = None
    max_escape_rate: float | None = None
    best_effort: bool = False
    """Take what comes nearest where the pictures cannot carry what was asked."""

    @property
    def rate(self) -> float:
        """Of false rejects."""
        return RATE if self.false_reject_rate is None else self.false_reject_rate

    @property
    def level(self) -> float:
        """Of confidence."""
        return CONFIDENCE if self.confidence is None else self.confidence

    @property
    def mask_rate(self) -> float:
        """Of good pictures that show a mask."""
        return max(self.rate, MASKED_NORMALS)

    @property
    def names_rejects(self) -> bool:
        """Whether the false-reject rate is asked for by name, or the confidence that goes with it."""
        return self.false_reject_rate is not None or self.confidence is not None

    @property
    def names_anything(self) -> bool:
        """Whether anything is asked for by name."""
        return self.names_rejects or self.max_escape_rate is not None

    def refuse_early(self, pictures: int, groups: Sequence[str] | None) -> None:
        """Before the long work: even were all pictures independent, they could be too few.

        Raises:
            PromiseRefused: they are.
        """
        needed = normals_needed(self.rate, self.level)
        if self.names_rejects and not self.best_effort and pictures < needed:
            grouped = f" in {len(set(groups))} groups" if groups else ""
            raise PromiseRefused(
                f"{pictures} good pictures{grouped} are too few to promise a false-reject rate of {self.rate:.3%} "
                f"with {in_percent(self.level)} confidence: {1 - (1 - self.level) ** (1 / pictures):.3%} at best, and "
                f"less so where pictures are alike; {needed} independent ones would do. {REMEDY}"
            )

    def refuse_without_defects(self, remedy: str) -> None:
        """Where not one defect is known.

        Raises:
            PromiseRefused: a limit on escapes is asked for, which needs some; `remedy` says what to do.
        """
        if self.max_escape_rate is not None:
            raise PromiseRefused(
                f"a limit on the escape rate (--max-escape-rate {self.max_escape_rate:g}) needs defective pictures to "
                f"measure it by: {remedy}"
            )


NOTHING_ASKED = Asked()
REMEDY = "Give more, ask for less, or take what comes nearest with --best-effort"


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Scores of pictures that the bank or the head they were measured by had not seen."""

    scores: NDArray[np.float32]
    """(N,)."""
    groups: tuple[str, ...] | None
    """Each picture's; None where each stands for itself."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold and all that it promises."""

    value: float
    promise: Promise
    escapes: Promise | None
    """None where no limit was asked for."""
    warnings: tuple[str, ...]


def choose_threshold(
    normals: HeldOut, abnormals: HeldOut, asked: Asked, *, rejected: NDArray[np.bool_] | None = None
) -> Threshold:
    """The lowest threshold that keeps the promised false-reject rate: it lets as few defects escape as can be.

    Where nothing is asked for by name and defects are known, one of those with about the best F1: their middle, or the
    lowest where groups are known. It comes with the rate that can be promised for it although it was picked.

    Args:
        normals: their held-out scores.
        abnormals: theirs; none is fine but for a limit on escapes.
        asked: what is to be kept.
        rejected: (A,) which abnormals have been rejected until now: of thresholds with about the best F1, one is taken
            that goes on rejecting them. None where that is not known.

    Raises:
        PromiseRefused: what was asked for by name cannot be promised, and best effort was not asked for.
    """
    if not len(abnormals.scores):
        asked.refuse_without_defects("give --abnormal")
    elif not asked.names_anything:
        return _best_f1(normals, abnormals, asked.level, rejected)
    value, promise = promised_threshold(normals.scores, asked.rate, asked.level, groups=normals.groups)
    refused = [] if promise.kept or not asked.names_rejects else [promise.complaint]
    warned = [] if promise.kept else [str(promise)]
    escapes = None
    if asked.max_escape_rate is not None:
        escapes = _escapes(abnormals, value, asked.max_escape_rate, asked.level)
        if not escapes.kept:
            conflict = _conflict(escapes, normals, abnormals, value, asked)
            refused.append(conflict)
            warned.append(conflict)
    if refused and not asked.best_effort:
        raise PromiseRefused(". ".join([*refused, REMEDY]))
    return Threshold(value, promise, escapes, tuple(warned))


def choose_mask_threshold(maxima: HeldOut, asked: Asked) -> tuple[float, Promise]:
    """The lowest value of the smoothed map that, at the asked confidence, all but a few good pictures stay below.

    Args:
        maxima: the largest value of each normal picture's held-out map.
        asked: for its rate and confidence; never refused, as a mask decides nothing.
    """
    return promised_threshold(maxima.scores, asked.mask_rate, asked.level, groups=maxima.groups, subject="masks")


def _best_f1(
    normals: HeldOut, abnormals: HeldOut, confidence: float, rejected_before: NDArray[np.bool_] | None
) -> Threshold:
    ordered = np.sort(normals.scores)[::-1]
    candidates = ordered[: 1 + math.floor(MISTAKEN_NORMALS * len(ordered))]
    as_good, high = _about_best(ordered, abnormals.scores, candidates)
    low = float(candidates[as_good].min())
    # Defects of parts to come resemble those known less than these resemble each other, and score lower.
    wanted = low if normals.groups is not None else (low + high) / 2
    usable = as_good & (candidates <= wanted)  # between two that are as good, one may reject good pictures for nothing
    best = int(np.argmax(usable))
    if rejected_before is not None:
        at_stake = abnormals.scores[rejected_before & (abnormals.scores > low)]
        keeping = usable & (candidates < at_stake.min(initial=np.inf))
        best = int(np.argmax(keeping)) if keeping.any() else best
    rejected = (ordered[:, None] > candidates).sum(axis=0)
    tolerated = int(rejected[best])
    # It was picked by these very scores, so the bounds of all that might have been picked are to hold at once.
    evidence = Evidence.of(normals.scores, normals.groups, RATE, confidence)
    level = level_for_all(evidence, int(rejected.max()), confidence)
    rate = evidence.lowest_rate(confidence, tolerated, level=level)
    promise = Promise(
        asked_rate=rate,
        promised_rate=rate,
        confidence=confidence,
        pictures=evidence.pictures,
        tolerated=tolerated,
        groups=evidence.groups,
        effective=evidence.effective if evidence.groups is not None else None,
    )
    return Threshold(float(candidates[best]), promise, None, ())


def _about_best(
    normals: NDArray[np.float32], abnormals: NDArray[np.float32], candidates: NDArray[np.float32]
) -> tuple[NDArray[np.bool_], float]:
    """Which candidates have about the best F1, and up to where thresholds have it.

    The highest candidate alone where no defect is above any.
    """
    thresholds = np.unique(np.concatenate([candidates, abnormals[abnormals > candidates.min()]]))
    caught = (abnormals[:, None] > thresholds).sum(axis=0)
    if not caught.any():
        return candidates == candidates[0], float(candidates[0])
    f1 = 2 * caught / (caught + (normals[:, None] > thresholds).sum(axis=0) + len(abnormals))
    as_good = f1 >= AS_GOOD * f1.max()
    # What a threshold does, all up to the next score do: the lowest that is as good is a candidate.
    last = int(np.flatnonzero(as_good)[-1])
    high = float(thresholds[min(last + 1, len(thresholds) - 1)])
    return as_good[np.searchsorted(thresholds, candidates)], high


def _escapes(abnormals: HeldOut, threshold: float, rate: float, confidence: float) -> Promise:
    """What is promised of escapes at a given threshold."""
    passed = int((abnormals.scores <= threshold).sum())
    evidence = Evidence.of(-abnormals.scores, abnormals.groups, rate, confidence)
    kept = evidence.carries(rate, confidence, passed)
    lowest = evidence.lowest_rate(confidence, 0)
    if evidence.carries(rate, confidence, 0):  # by a lower threshold: the lowest rate is found but to `PRECISION`
        lowest = min(lowest, rate)
    return Promise(
        subject="escapes",
        asked_rate=rate,
        promised_rate=rate if kept else evidence.lowest_rate(confidence, passed),
        confidence=confidence,
        pictures=evidence.pictures,
        tolerated=passed,
        groups=evidence.groups,
        effective=evidence.effective if evidence.groups is not None else None,
        lowest_rate=None if kept else lowest,
        needed=None if kept else evidence.needed(rate, confidence),
    )


def _conflict(escapes: Promise, normals: HeldOut, abnormals: HeldOut, threshold: float, asked: Asked) -> str:
    """Plainly, why both promises cannot be kept, and what each would cost."""
    lowered, lone = promised_threshold(
        -abnormals.scores, escapes.asked_rate, asked.level, groups=abnormals.groups, subject="escapes"
    )
    if not lone.kept:
        return escapes.complaint
    rejected = int((normals.scores >= -lowered).sum())
    evidence = Evidence.of(normals.scores, normals.groups, asked.rate, asked.level)
    return (
        f"the promises conflict: the threshold {threshold:.4g} that keeps false rejects at {asked.rate:.3%} lets "
        f"{escapes.tolerated} of {escapes.pictures} known defects pass, {escapes.promised_rate:.3%} at most with "
        f"{in_percent(asked.level)} confidence; one below {-lowered:.4g} would keep escapes at "
        f"{escapes.asked_rate:.3%}, and false rejects at {evidence.lowest_rate(asked.level, rejected):.3%}"
    )
