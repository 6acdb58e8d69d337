"""Intervals of rates that are counts: where none or all of the pictures count, drawing them again shows nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

Interval = tuple[float, float]


def clopper_pearson(successes: int, trials: int, confidence: float) -> Interval:
    """The exact two-sided interval of a binomial rate; `trials` is one at least."""
    tail = (1 - confidence) / 2
    low = float(betaincinv(successes, trials - successes + 1, tail)) if successes else 0.0
    high = float(betaincinv(successes + 1, trials - successes, 1 - tail)) if successes < trials else 1.0
    return low, high


@dataclass(frozen=True, slots=True)
class Counts:
    """Independent ones (pictures, or groups where pictures of a group are alike) that each rate is a share of."""

    trials: dict[str, int]
    """By the rates' names."""

    @classmethod
    def of(cls, rejected: NDArray[np.bool_], defective: NDArray[np.bool_], groups: Sequence[str] | None) -> "Counts":
        """From verdicts and truth.

        Args:
            rejected: (N,).
            defective: (N,).
            groups: each picture's; None where each stands for itself.
        """
        unit = np.arange(len(rejected)) if groups is None else np.unique(groups, return_inverse=True)[1]
        among = {
            "accuracy": np.ones(len(rejected), np.bool_),
            "precision": rejected,
            "recall": defective,
            "f1": rejected | defective,
            "false_reject_rate": ~defective,
            "escape_rate": defective,
        }
        return cls({name: len(set(unit[those])) for name, those in among.items()})

    def at_an_end(self, name: str, rate: float, confidence: float) -> Interval | None:
        """The interval of a rate that is 0 or 1; None for a rate between, or none of these."""
        trials = self.trials.get(name, 0)
        if rate not in {0.0, 1.0} or not trials:
            return None
        low, high = clopper_pearson(int(rate) * trials, trials, confidence)
        if name != "f1":
            return low, high
        # F1 is 2 s / (1 + s), where s is a share of pictures: of right rejects among those rejected or defective.
        return 2 * low / (1 + low), 2 * high / (1 + high)
