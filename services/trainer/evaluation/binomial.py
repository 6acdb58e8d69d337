"""Intervals of figures over pictures or pixels: of rates, of F1, of the AUROC and AU-PRO.

A rate's interval is the exact binomial one (Clopper & Pearson, "The use of confidence or fiducial limits illustrated in
the case of the binomial", 1934). That of rates drawn again ends too low where few pictures are wrong: one of 200 would
have less to fear than none. Where pictures of a group are alike it is taken over as many independent pictures as vary
so much, corrected by Student's t for how few the groups are (Korn & Graubard 1998, as promises are in
`services.trainer.promise.promise`): of ten groups of twenty, the true rate was above the end of what was drawn again in
one case of six or seven, where a fortieth should be (test).

F1 and the AUROC are functions of shares, of pictures and of pairs of a good and a defective one, and have the interval
of these. Pairs share pictures, and pixels too, so that their effective number is always told by drawing pictures again.
The ends of what was drawn lie too high near 1: of AUROCs of .998, one lower end in six was above the true one (test).

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
    """That each figure is over, by its name; pixels where it is over these."""

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
            "image_auroc": np.ones(len(rejected), np.bool_),
        }
        units = {name: len(set(unit[those])) for name, those in among.items()}
        pairs = min(units["recall"], units["false_reject_rate"])
        return cls(units | {"image_auroc": pairs}, {name: int(those.sum()) for name, those in among.items()})

    def of_varying(self, name: str, value: float, drawn: Sequence[float]) -> Interval | None:
        """The interval of a figure that has another value where other pictures are drawn.

        Args:
            name: of the figure.
            value: above 0 and below 1.
            drawn: the same where pictures or groups were drawn again; one at least.
        """
        pictures, groups = self.pictures[name], self.trials[name]
        share = _share(name, value)
        effective = float(pictures)
        if groups < pictures:
            if groups == 1 or min(drawn) == max(drawn):  # their variance need not be 0, as their mean is rounded
                return self.of_unvarying(name, value)
            variance = float(np.var([_share(name, each) for each in drawn]))
            few_groups = (stdtrit(pictures - 1, 1 - TAIL) / stdtrit(groups - 1, 1 - TAIL)) ** 2
            alike = share * (1 - share) / (variance * groups / (groups - 1))
            effective = min(effective, alike * float(few_groups))
        part = share * effective
        low = betaincinv(part, effective - part + 1, TAIL)
        return _figure(name, float(low)), _figure(name, float(betaincinv(part + 1, effective - part, 1 - TAIL)))

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
        share = _share(name, value)
        return _figure(name, max(0.0, share - different)), _figure(name, min(1.0, share + different))


def _share(name: str, figure: float) -> float:
    """Of which a figure is a function: of F1, the share of right rejects among pictures rejected or defective."""
    return figure / (2 - figure) if name == "f1" else figure


def _figure(name: str, share: float) -> float:
    """The figure of a share."""
    return 2 * share / (1 + share) if name == "f1" else share
