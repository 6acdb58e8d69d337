"""A promise for a threshold that was picked from several by what the scores are like.

The bound that holds for one threshold at 95 % is broken more often than that by the best of many: where the F1 is best,
chance has placed the normals low. So the bounds of all candidates are to hold at once. The shares of new pictures above
the largest held-out scores are uniform order statistics whatever the scores' distribution, and so is the level at which
each bound must be taken: it is found once from such numbers drawn by lot. Where pictures of a group are alike, as many
order statistics are drawn as the pictures are worth independent ones.
"""

from functools import lru_cache

import numpy as np
from scipy.special import betainc

from services.trainer.promise.promise import Evidence

DRAWS = 10_000  # calibrations drawn by lot: the confidence is met to within half a percent
DENSITY = 1.05  # ratio of neighbouring ranks that are looked at, from the 20th on: between them hardly anything changes


@lru_cache
def level_for_all(evidence: Evidence, most: int, confidence: float) -> float:
    """The confidence at which each bound must be taken for all of them to hold at once with `confidence`.

    Args:
        evidence: what the held-out pictures can tell.
        most: pictures that the candidate that rejects most has above it; all counts from 0 to it are candidates.
        confidence: that the bound of whichever candidate is picked holds.
    """
    tolerated = [0]
    while tolerated[-1] < most:
        tolerated.append(min(most, max(tolerated[-1] + 1, int(tolerated[-1] * DENSITY))))
    ranks = 1 + np.array(tolerated) * evidence.effective / evidence.pictures
    ranks = ranks[ranks < evidence.effective + 1]
    random = np.random.default_rng(0)
    below = random.gamma(np.diff(ranks, prepend=0), size=(DRAWS, len(ranks))).cumsum(axis=1)
    above = random.gamma(evidence.effective + 1 - ranks[-1], size=(DRAWS, 1))
    shares = below / (below[:, -1:] + above)
    levels = betainc(ranks, evidence.effective + 1 - ranks, shares)
    return max(confidence, float(np.quantile(levels.max(axis=1), confidence, method="higher")))
