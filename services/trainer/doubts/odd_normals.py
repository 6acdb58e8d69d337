"""Normals unlike all others: with few pictures, one that slipped in sets the threshold, and defects pass below it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shared.vision.calibration import SCORE_STD_FLOOR

FAR = 10.0  # deviations from the middle: of 750 tiles or 160 crops of a board the oddest is within 7.1, noise beyond 20
FEWEST = 10  # pictures, below which nothing tells what is usual
MAD_TO_STD = 1.4826  # of a normal distribution


def odd_normals(names: Sequence[str], scores: NDArray[np.float32]) -> list[str]:
    """Names of the pictures whose held-out scores lie far above the others', the oddest first.

    The spread is told by the median's distances, which a few odd ones do not move.

    Args:
        names: of N pictures.
        scores: (N,) held-out scores.
    """
    if len(scores) < FEWEST:
        return []
    beyond = scores - np.median(scores)
    spread = max(MAD_TO_STD * float(np.median(np.abs(beyond))), SCORE_STD_FLOOR)
    order = np.argsort(-beyond, kind="stable")
    return [names[index] for index in order[: int((beyond > FAR * spread).sum())]]
