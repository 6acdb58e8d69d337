"""Figures of merit. Positive means defective, everywhere; a figure that is undefined is None.

Pixel figures are accumulated picture by picture in histograms of the anomaly map, so that memory does not grow with
the pictures. They are exact up to the histograms' resolution: values that fall into one of `BINS` equal steps between
the smallest and the largest value count as ties.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

BINS = 1 << 16  # steps of the anomaly map; figures differ from the exact ones by less than 1e-4
MAX_FALSE_POSITIVE_RATE = 0.3  # AU-PRO's usual limit: beyond it a map says nothing of use

Histogram = NDArray[np.int64] | NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Confusion:
    """Verdicts against truth."""

    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int

    @classmethod
    def of(cls, rejected: NDArray[np.bool_], defective: NDArray[np.bool_]) -> "Confusion":
        """From two bool arrays (N,)."""
        return cls(
            true_positives=int(np.sum(rejected & defective)),
            false_positives=int(np.sum(rejected & ~defective)),
            true_negatives=int(np.sum(~rejected & ~defective)),
            false_negatives=int(np.sum(~rejected & defective)),
        )

    @property
    def accuracy(self) -> float | None:
        """Right verdicts among all."""
        right = self.true_positives + self.true_negatives
        return _ratio(right, right + self.false_positives + self.false_negatives)

    @property
    def precision(self) -> float | None:
        """Defective ones among the rejected."""
        return _ratio(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float | None:
        """Rejected ones among the defective."""
        return _ratio(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall."""
        twice = 2 * self.true_positives
        return _ratio(twice, twice + self.false_positives + self.false_negatives)

    @property
    def false_reject_rate(self) -> float | None:
        """Rejected ones among the normal."""
        return _ratio(self.false_positives, self.false_positives + self.true_negatives)

    @property
    def escape_rate(self) -> float | None:
        """Passed ones among the defective."""
        return _ratio(self.false_negatives, self.true_positives + self.false_negatives)


def auroc(scores: NDArray[np.float32], defective: NDArray[np.bool_]) -> float | None:
    """Area under the ROC curve: the chance that a defective one scores above a normal one, a tie counting half.

    Args:
        scores: (N,).
        defective: (N,) bool.
    """
    positives, negatives = int(defective.sum()), int((~defective).sum())
    if not positives or not negatives:
        return None
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    mean_ranks = np.cumsum(counts) - (counts - 1) / 2
    rank_sum = float(mean_ranks[inverse][defective].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


class PixelFigures:
    """Pixel AUROC and AU-PRO over pictures that come one by one.

    AU-PRO is the area under the per-region overlap (the mean, over 8-connected defects, of the share that is found)
    against the false-positive rate over all normal pixels, up to `MAX_FALSE_POSITIVE_RATE` and divided by it
    (Bergmann et al., "Uninformed students", CVPR 2020).
    """

    def __init__(self, lowest: float, highest: float, *, bins: int = BINS) -> None:
        """All maps' values lie between `lowest` and `highest`; what is beyond counts as the end."""
        self._lowest = lowest
        self._bins = bins
        self._steps = (bins - 1) / max(highest - lowest, 1e-12)
        self.normal = np.zeros(bins, np.int64)
        self.defective = np.zeros(bins, np.int64)
        self.overlap = np.zeros(bins, np.float64)
        self.regions = 0

    def add(self, pixels: NDArray[np.float32], truth: NDArray[np.bool_] | None) -> None:
        """One picture's anomaly map (H, W) and its true mask (H, W); None says that nothing is defective."""
        bins = np.clip((pixels - self._lowest) * self._steps, 0, self._bins - 1).astype(np.int32)
        if truth is None or not truth.any():
            self.normal += np.bincount(bins.ravel(), minlength=self._bins)
            return
        self.normal += np.bincount(bins[~truth], minlength=self._bins)
        self.defective += np.bincount(bins[truth], minlength=self._bins)
        regions, labels = cv2.connectedComponents(truth.astype(np.uint8), connectivity=8)
        inside = np.asarray(labels)[truth]
        areas = np.bincount(inside, minlength=regions)
        self.overlap += np.bincount(bins[truth], weights=1 / areas[inside], minlength=self._bins)
        self.regions += regions - 1

    def auroc(self) -> float | None:
        """Area under the ROC curve over all pixels."""
        return histogram_auroc(self.normal, self.defective)

    def au_pro(self) -> float | None:
        """Area under the per-region overlap curve up to `MAX_FALSE_POSITIVE_RATE`, divided by it."""
        return histogram_au_pro(self.normal, self.overlap, self.regions)


def histogram_auroc(normal: Histogram, defective: Histogram) -> float | None:
    """Area under the ROC curve of two histograms over the same bins, from low values to high."""
    normals, defectives = float(normal.sum()), float(defective.sum())
    if not normals or not defectives:
        return None
    below = np.cumsum(normal) - normal / 2
    return float(np.dot(defective, below)) / (normals * defectives)


def histogram_au_pro(normal: Histogram, overlap: Histogram, regions: float) -> float | None:
    """AU-PRO of a histogram of normal pixels and one of defective pixels, each weighing 1 / area of its region."""
    normals = float(normal.sum())
    if not normals or not regions:
        return None
    rate = np.concatenate(([0.0], np.cumsum(normal[::-1]) / normals))
    overlaps = np.concatenate(([0.0], np.cumsum(overlap[::-1]) / regions))
    within = rate <= MAX_FALSE_POSITIVE_RATE
    rates = np.append(rate[within], MAX_FALSE_POSITIVE_RATE)
    found = np.append(overlaps[within], np.interp(MAX_FALSE_POSITIVE_RATE, rate, overlaps))
    # Overlaps are sums of areas' inverses, which add up to a little more than 1.
    return min(float(np.trapezoid(found, rates)) / MAX_FALSE_POSITIVE_RATE, 1.0)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
