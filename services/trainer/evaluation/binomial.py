"""Intervals of rates, and of figures that stay what they are however pictures are drawn again, as an AUROC of 1.

A rate's interval is the exact binomial one (Clopper & Pearson, "The use of confidence or fiducial limits illustrated in
the case of the binomial", 1934). That of rates drawn again ends too low where few pictures are wrong: one of 200 would
have less to fear than none. Where pictures of a group are alike it is taken over as many independent pictures as vary
so much, corrected by Student's t for how few the groups are (Korn & Graubard 1998, as promises are in
`services.trainer.promise.promise`): of ten groups of twenty, the true rate was above the end of what was drawn again in
one case of six or seven, where a fortieth should be (test).

Of what does not vary, all m independent pictures (or groups, or pairs of a good and a defective one) are alike in what
the figure counts. Were a share q of those to come different, m in a row would be alike by a chance of (1 - q)^m: the
interval holds all that the figure can be for the q at which that is as rare as an interval's tail. Of a rate of 0 or 1
this is the exact binomial interval again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, stdtrit

CONFIDENCE = 0.95
TAIL = (1 - CONFIDENCE) / 2  # on either side of an interval

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Counts:
    """Independent ones (pictures, or groups where pictures of a group are alike) that each figure rests on."""

    trials: dict[str, int]
    """By the figures' names; of the AUROC, pairs of a good and a defective one of which no two share any."""
    pictures: dict[str, int]
    """That each figure is over, by its name; of the AUROC none."""

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
        pairs = min(units["recall"], units["false_reject_rate"])
        return cls(units | {"image_auroc": pairs}, {name: int(those.sum()) for name, those in among.items()})

    def of_rate(self, name: str, value: float, drawn: Sequence[float]) -> Interval | None:
        """The interval of a share of pictures.

        Args:
            name: of the figure.
            value: above 0 and below 1.
            drawn: the same where groups were drawn again; one at least.
        """
        pictures, groups = self.pictures[name], self.trials[name]
        effective = float(pictures)
        if groups < pictures:
            variance = float(np.var(drawn))
            if groups == 1 or variance == 0:
                return self.of_unvarying(name, value)
            few_groups = (stdtrit(pictures - 1, 1 - TAIL) / stdtrit(groups - 1, 1 - TAIL)) ** 2
            alike = value * (1 - value) / (variance * groups / (groups - 1))
            effective = min(effective, alike * float(few_groups))
        wrong = value * effective
        low = betaincinv(wrong, effective - wrong + 1, TAIL)
        return float(low), float(betaincinv(wrong + 1, effective - wrong, 1 - TAIL))

    def of_unvarying(self, name: str, value: float) -> Interval | None:
        """The interval of a figure that no drawing changes; None where it rests on nothing.

        Args:
            name: of the figure.
            value: between 0 and 1.
        """
        trials = self.trials.get(name, 0)
        if not trials:
            return None
        different = 1 - TAIL ** (1 / trials)
        # F1 is 2 s / (1 + s), where s is a share of pictures: of right rejects among those rejected or defective.
        share = value / (2 - value) if name == "f1" else value
        low, high = max(0.0, share - different), min(1.0, share + different)
        return (2 * low / (1 + low), 2 * high / (1 + high)) if name == "f1" else (low, high)
