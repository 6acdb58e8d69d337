"""How much of what is learnt from known defects joins the anomaly score, and whether that is more than noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from services.trainer.evaluation.metrics import auroc
from shared.vision.calibration import Spread

RESAMPLES = 200  # bootstrap ones, for the noise of a gain
SPREAD_FLOOR = 0.02  # of answers to normals: were they all the same, any other would be infinitely odd


@dataclass(frozen=True, slots=True)
class Joining:
    """Held-out answers beside held-out anomaly scores, at the weight that tells most apart."""

    scores: NDArray[np.float32]
    """(N,) with the answers."""
    weight: float
    """Of one deviation of the answers, in the score's own unit."""
    spread: Spread
    """Of the answers to normals."""
    gain: float
    """In AUROC."""
    noise: float
    """Standard error of the gain over resampled pictures."""
    report: dict[str, Any]
    """Plain JSON."""

    @classmethod
    def best(
        cls,
        scores: NDArray[np.float32],
        answers: NDArray[np.float32],
        defective: NDArray[np.bool_],
        weights: Sequence[float],
        seed: int,
    ) -> Self:
        """The best of some weights.

        Args:
            scores: (N,) held-out anomaly scores.
            answers: (N,) held out likewise.
            defective: (N,) bool; at least one of each.
            weights: in deviations of the answers to normals against the scores' of normals.
            seed: of the bootstrap.
        """
        spread = Spread.of(answers[~defective], SPREAD_FLOOR)
        unit = max(float(scores[~defective].std()), SPREAD_FLOOR)
        added = np.float32(unit) * spread.standardise(answers)
        joined = {weight: scores + np.float32(weight) * added for weight in weights}
        weight = max(weights, key=lambda each: (auroc(joined[each], defective) or 0, -each))
        gain, noise = gain_of(scores, joined[weight], defective, seed)
        report = {
            "auroc_without": auroc(scores, defective),
            "auroc_joined": auroc(joined[weight], defective),
            "gain": gain,
            "noise": noise,
            "weight": weight,
        }
        return cls(joined[weight], weight * unit, spread, gain, noise, report)


def gain_of(
    before: NDArray[np.float32], after: NDArray[np.float32], defective: NDArray[np.bool_], seed: int
) -> tuple[float, float]:
    """Gain in AUROC, and its standard error over resampled pictures."""
    random = np.random.default_rng(seed)
    normals, abnormals = np.flatnonzero(~defective), np.flatnonzero(defective)
    gains = []
    for _ in range(RESAMPLES):
        chosen = np.concatenate([random.choice(normals, len(normals)), random.choice(abnormals, len(abnormals))])
        truth = defective[chosen]
        gains.append((auroc(after[chosen], truth) or 0) - (auroc(before[chosen], truth) or 0))
    return (auroc(after, defective) or 0) - (auroc(before, defective) or 0), float(np.std(gains))
