"""How sure a figure is: intervals over resampled pictures, or over resampled groups where pictures of one are alike.

Figures over pictures have binomial intervals (`services.trainer.evaluation.binomial`), for which pictures or groups
that are drawn again tell how much a figure varies. So have those over pixels, and none where they stay what they are
however pictures are drawn.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from services.trainer.evaluation.binomial import Counts, Interval
from services.trainer.evaluation.metrics import Confusion, PixelFigures, auroc, histogram_au_pro, histogram_auroc

RESAMPLES = 500  # the ends of an interval then move by a tenth of its length
OF_VERDICTS = ("accuracy", "precision", "recall", "f1", "false_reject_rate", "escape_rate")
"""Figures that verdicts and truth decide."""
PIXEL_BINS = 2048  # of the anomaly map, a picture; an interval needs fewer than the figure itself
ROUNDING = 1e-5  # of sums over pixels in float32: figures that differ by less are the same


def resample(
    normals: int, abnormals: int, groups: Sequence[str] | None, abnormal_groups: Sequence[str] | None, *, seed: int = 0
) -> NDArray[np.intp]:
    """(RESAMPLES, normals + abnormals): how often each picture is drawn; normals and abnormals keep their number.

    Args:
        normals: how many normal pictures; they come first.
        abnormals: how many defective ones.
        groups: each normal picture's group, to be drawn whole; None where each stands for itself.
        abnormal_groups: likewise of the defective ones.
        seed: of the draws.
    """
    random = np.random.default_rng(seed)
    return np.concatenate([_draws(normals, groups, random), _draws(abnormals, abnormal_groups, random)], axis=1)


def picture_intervals(
    scores: NDArray[np.float32],
    rejected: NDArray[np.bool_],
    defective: NDArray[np.bool_],
    draws: NDArray[np.intp],
    *,
    groups: Sequence[str] | None = None,
) -> dict[str, Interval | None]:
    """Intervals of the figures over pictures, by their names in the report.

    Args:
        scores: (N,).
        rejected: (N,).
        defective: (N,).
        draws: (RESAMPLES, N) from `resample`.
        groups: each picture's group, its own where it stands for itself; None where all do.
    """
    samples = [np.repeat(np.arange(len(scores)), counts) for counts in draws]
    confusions = [Confusion.of(rejected[sample], defective[sample]) for sample in samples]
    here, counts = Confusion.of(rejected, defective), Counts.of(rejected, defective, groups)
    drawn = {
        "image_auroc": (
            auroc(scores, defective),
            [auroc(scores[sample], defective[sample]) for sample in samples],
        ),
        **{name: (getattr(here, name), [getattr(each, name) for each in confusions]) for name in OF_VERDICTS},
    }
    return {name: _of_pictures(name, value, values, counts) for name, (value, values) in drawn.items()}


class PixelSample:
    """Coarse histograms of every picture's map, kept apart so that pictures can be drawn again."""

    def __init__(self, lowest: float, highest: float) -> None:
        """All maps' values lie between `lowest` and `highest`."""
        self._range = lowest, highest
        self._histograms: list[NDArray[np.float32]] = []
        self._regions: list[int] = []

    def add(self, pixels: NDArray[np.float32], truth: NDArray[np.bool_] | None) -> None:
        """As `PixelFigures.add`."""
        alone = PixelFigures(*self._range, bins=PIXEL_BINS)
        alone.add(pixels, truth)
        self._histograms.append(np.stack([alone.normal, alone.defective, alone.overlap]).astype(np.float32))
        self._regions.append(alone.regions)

    def intervals(self, draws: NDArray[np.intp], *, groups: Sequence[str] | None = None) -> dict[str, Interval | None]:
        """Intervals of the figures over pixels, by their names in the report.

        Args:
            draws: (RESAMPLES, N) of the pictures as added.
            groups: each picture's, as `picture_intervals` takes them.
        """
        histograms, regions = np.stack(self._histograms), np.array(self._regions)
        units = np.arange(len(regions)) if groups is None else np.asarray(groups, str)
        defects = len(set(units[regions > 0]))
        as_they_are = np.concatenate([np.ones((1, len(regions)), np.intp), draws])
        drawn = np.tensordot(as_they_are.astype(np.float32), histograms, axes=1).astype(np.float64)
        figures = {
            "pixel_auroc": [histogram_auroc(normal, defective) for normal, defective, _ in drawn],
            "au_pro": [
                histogram_au_pro(normal, overlap, count)
                for (normal, _, overlap), count in zip(drawn, as_they_are @ regions, strict=True)
            ],
        }
        counts = Counts(dict.fromkeys(figures, defects), dict.fromkeys(figures, int(histograms[:, :2].sum())))
        return {name: _of_pixels(name, values[0], values[1:], counts) for name, values in figures.items()}


def _of_pictures(name: str, value: float | None, values: Sequence[float | None], counts: Counts) -> Interval | None:
    if value is None:
        return None
    if value in {0.0, 1.0}:
        return counts.of_unvarying(name, value)
    return counts.of_varying(name, value, [each for each in values if each is not None])


def _of_pixels(name: str, value: float | None, values: Sequence[float | None], counts: Counts) -> Interval | None:
    defined = [each for each in values if each is not None]
    if value is None or len(defined) < len(values) or max(defined) - min(defined) < ROUNDING:
        return None
    return counts.of_varying(name, value, defined)


def _draws(pictures: int, groups: Sequence[str] | None, random: np.random.Generator) -> NDArray[np.intp]:
    if not pictures:
        return np.zeros((RESAMPLES, 0), np.intp)
    group_of = np.unique(groups, return_inverse=True)[1] if groups else np.arange(pictures)
    count = int(group_of.max()) + 1
    drawn = random.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    return np.asarray(drawn[:, group_of], np.intp)
