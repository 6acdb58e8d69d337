"""The guard of an update: normals that would make known defects pass are no normals."""

import numpy as np
from numpy.typing import NDArray

from services.trainer.errors import SwallowsDefects
from services.trainer.known_defects.head import refit
from services.trainer.upkeep.remembered import anomaly_scores
from shared.bank.upkeep import Upkeep
from shared.vision.bank import Bank

MAX_LOST = 0.02  # share of the known defects that may turn from rejected to passed; of fewer than 50, none may
NAMED = 5  # lost defects that the refusal names


def refuse_to_swallow(bank: Bank, upkeep: Upkeep, after: NDArray[np.float32], threshold: float) -> None:
    """Before a bank that no longer knows its defects is written.

    Args:
        bank: as it was.
        upkeep: what it remembers.
        after: (A,) scores of its known defects by the bank that has grown.
        threshold: of that one.

    Raises:
        SwallowsDefects: more than a few of the defects that are rejected now would pass.
    """
    scores = anomaly_scores(upkeep, bank.layers, bank.recipe, bank.calibration.layers)
    if bank.head:
        nothing = np.empty((0, len(bank.head.centre)), np.float32)
        scores = scores + bank.head.scores(refit(bank.head, len(scores), nothing, ()).defects[:, None])
    if bank.patch_head:
        scores = scores + bank.patch_head.scores(bank.patch_head.known)
    lost = np.flatnonzero((scores > bank.threshold) & (after <= threshold))
    if len(lost) <= MAX_LOST * len(scores):
        return
    names = [upkeep.figures.defects[index] for index in lost[:NAMED]]
    raise SwallowsDefects(
        f"{len(lost)} of {len(scores)} known defects that are rejected now would pass after the update, for instance "
        f"{', '.join(names)}: look at the new pictures for defective ones, or train again from all pictures"
    )
