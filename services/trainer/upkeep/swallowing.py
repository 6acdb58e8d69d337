"""The guard of updates: normals that would make known defects pass are no normals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.trainer.errors import SwallowsDefects
from services.trainer.known_defects.head import refit
from services.trainer.upkeep.remembered import anomaly_scores
from shared.bank.upkeep import Upkeep
from shared.vision.bank import Bank

# Share of the known defects that may turn from rejected to passed, by all updates together, or each would take its
# share of what the last one left; of fewer than 50, none may.
MAX_LOST = 0.02
NAMED = 5  # lost defects that a sentence names


@dataclass(frozen=True, slots=True)
class Lost:
    """Known defects that were rejected once and pass after an update."""

    names: tuple[str, ...]
    """In the order in which the bundle remembers them."""
    known: int
    """All that it remembers."""

    @property
    def warnings(self) -> list[str]:
        """A sentence, where there are any."""
        if not self.names:
            return []
        sentence = (
            f"{len(self.names)} of {self.known} known defects that were rejected before this update or an earlier one "
            f"pass now: {_some(self.names)}"
        )
        return [sentence]


def refuse_to_swallow(
    names: tuple[str, ...], rejected: NDArray[np.bool_], passes: NDArray[np.bool_], lost_before: Sequence[str]
) -> Lost:
    """Before a bank that no longer knows its defects is written; those few that it loses.

    Args:
        names: of the A known defects.
        rejected: (A,) by the bank as it was.
        passes: (A,) by the bank that has grown.
        lost_before: names of the defects that earlier updates lost.

    Raises:
        SwallowsDefects: some defects that are rejected now would pass, and with those that earlier updates lost they
            are more than a few.
    """
    newly = rejected & passes
    earlier = np.isin(names, lost_before) & passes
    new, lost = (tuple(names[index] for index in np.flatnonzero(those)) for those in (newly, newly | earlier))
    if not new or len(lost) <= MAX_LOST * len(names):
        return Lost(lost, len(names))
    others = f", beside {len(lost) - len(new)} that earlier updates lost" if len(lost) > len(new) else ""
    raise SwallowsDefects(
        f"{len(new)} of {len(names)} known defects that are rejected now would pass after the update, for instance "
        f"{_some(new)}{others}: look at the new pictures for defective ones, or train again from all pictures"
    )


def known_scores(bank: Bank, upkeep: Upkeep) -> NDArray[np.float32]:
    """(A,) of the known defects by a bank as it is, each as if it had taught the heads nothing."""
    scores = anomaly_scores(upkeep, bank.layers, bank.recipe, bank.calibration.layers)
    if bank.head:
        nothing = np.empty((0, len(bank.head.centre)), np.float32)
        as_it_was = refit(bank.head, len(scores), nothing, (), defect_groups=upkeep.figures.defect_groups)
        scores = scores + bank.head.scores(as_it_was.defects[:, None])
    if bank.patch_head:
        scores = scores + bank.patch_head.scores(bank.patch_head.known)
    return scores


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (" and others" if len(names) > NAMED else "")
