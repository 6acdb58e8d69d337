"""Intervals of figures that stay what they are however pictures are drawn again, as a rate of 0 or an AUROC of 1.

All m independent pictures (or groups, or pairs of a good and a defective one) are alike in what the figure counts. Were
a share q of those to come different, m in a row would be alike by a chance of (1 - q)^m: the interval holds all that
the figure can be for the q at which that is as rare as an interval's tail. Of a rate of 0 or 1 this is the exact
binomial interval (Clopper & Pearson, "The use of confidence or fiducial limits illustrated in the case of the
binomial", 1934).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Counts:
    """Independent ones (pictures, or groups where pictures of a group are alike) that each figure rests on."""

    trials: dict[str, int]
    """By the figures' names; of the AUROC, pairs of a good and a defective one of which no two share any."""

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
        units = {name: len(set(unit[those])) for name, those in among.items()}
        return cls(units | {"image_auroc": min(units["recall"], units["false_reject_rate"])})

    def of_unvarying(self, name: str, value: float, confidence: float) -> Interval | None:
        """The interval of a figure that no drawing changes; None where it rests on nothing.

        Args:
            name: of the figure.
            value: between 0 and 1.
            confidence: of the interval, half of its complement on either side.
        """
        trials = self.trials.get(name, 0)
        if not trials:
            return None
        different = 1 - ((1 - confidence) / 2) ** (1 / trials)
        # F1 is 2 s / (1 + s), where s is a share of pictures: of right rejects among those rejected or defective.
        share = value / (2 - value) if name == "f1" else value
        low, high = max(0.0, share - different), min(1.0, share + different)
        return (2 * low / (1 + low), 2 * high / (1 + high)) if name == "f1" else (low, high)
