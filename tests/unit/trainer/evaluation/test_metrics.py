from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from services.trainer.evaluation.metrics import Confusion, PixelFigures, auroc

Pictures = list[tuple[NDArray[np.float32], NDArray[np.bool_]]]


def slow_au_pro(pictures: Pictures, limit: float = 0.3) -> float:
    """The definition, threshold by threshold and region by region."""
    thresholds = np.unique(np.concatenate([pixels.ravel() for pixels, _ in pictures]))[::-1]
    normal = np.concatenate([pixels[~truth] for pixels, truth in pictures])
    regions = []
    for pixels, truth in pictures:
        labels, count = ndimage.label(truth, np.ones((3, 3)))
        regions += [pixels[labels == region] for region in range(1, count + 1)]
    points = [(0.0, 0.0)]
    for threshold in thresholds:
        overlaps = [np.mean(region >= threshold) for region in regions]
        points.append((float(np.mean(normal >= threshold)), float(np.mean(overlaps))))
    area = 0.0
    for (left, low), (right, high) in pairwise(points):
        if left == right:
            continue
        share = np.clip((limit - left) / (right - left), 0, 1)  # of the step within the limit
        area += share * (right - left) * (low + low + share * (high - low)) / 2
    return area / limit


def make_pictures(seed: int, levels: int) -> Pictures:
    random = np.random.default_rng(seed)
    pictures: Pictures = []
    for _ in range(4):
        truth = random.random((9, 12)) < random.choice([0.0, 0.15, 0.3])
        pixels = random.integers(0, levels, (9, 12)) + truth * random.integers(0, levels, (9, 12))
        pictures.append((pixels.astype(np.float32), truth))
    pictures[0][1][4, 4] = True
    return pictures


def accumulate(pictures: Pictures) -> PixelFigures:
    figures = PixelFigures(
        min(float(pixels.min()) for pixels, _ in pictures), max(float(pixels.max()) for pixels, _ in pictures)
    )
    for pixels, truth in pictures:
        figures.add(pixels, truth if truth.any() else None)
    return figures


@given(seed=st.integers(0, 10_000), levels=st.sampled_from([2, 5, 60]))
def test_au_pro_is_the_slow_definition(seed: int, levels: int) -> None:
    pictures = make_pictures(seed, levels)
    assert accumulate(pictures).au_pro() == pytest.approx(slow_au_pro(pictures), abs=1e-9)


@given(seed=st.integers(0, 10_000), levels=st.sampled_from([2, 5, 60]))
def test_pixel_auroc_is_that_of_all_pixels_together(seed: int, levels: int) -> None:
    pictures = make_pictures(seed, levels)
    scores = np.concatenate([pixels.ravel() for pixels, _ in pictures])
    truth = np.concatenate([truth.ravel() for _, truth in pictures])
    assert accumulate(pictures).auroc() == pytest.approx(roc_auc_score(truth, scores), abs=1e-9)


def test_a_small_region_weighs_as_much_as_a_large_one_in_au_pro() -> None:
    truth = np.zeros((40, 40), np.bool_)
    truth[:20, :20] = True
    truth[30, 30] = True
    only_large = np.where(truth, 1, 0).astype(np.float32)
    only_large[30, 30] = 0
    figures = accumulate([(only_large, truth)])
    assert figures.au_pro() == pytest.approx(0.5 + 0.5 * 0.15, abs=1e-3)  # the rest is met at random: a straight line


def test_a_perfect_map_and_an_inverted_one() -> None:
    truth = np.zeros((20, 20), np.bool_)
    truth[5:9, 5:9] = True
    perfect = accumulate([(truth.astype(np.float32), truth)])
    assert (perfect.auroc(), perfect.au_pro()) == (1, 1)
    inverted = accumulate([(1 - truth.astype(np.float32), truth)])
    assert (inverted.auroc(), inverted.au_pro()) == (0, 0)


@given(seed=st.integers(0, 10_000))
def test_no_figure_over_pixels_is_above_one(seed: int) -> None:
    random = np.random.default_rng(seed)
    figures = PixelFigures(0, 1)
    for _ in range(6):
        truth = random.random((20, 21)) < 0.2
        figures.add((truth * random.uniform(0.5, 1, truth.shape)).astype(np.float32), truth)
    assert figures.auroc() == 1
    assert pytest.approx(1, abs=1e-12) == figures.au_pro()
    assert (figures.au_pro() or 0) <= 1


def test_without_masks_or_with_nothing_but_defects_pixel_figures_are_undefined() -> None:
    figures = PixelFigures(0, 1)
    assert (figures.auroc(), figures.au_pro()) == (None, None)
    figures.add(np.zeros((4, 4), np.float32), None)
    assert (figures.auroc(), figures.au_pro()) == (None, None)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2))
def test_auroc_counts_ties_half(pairs: list[tuple[int, bool]]) -> None:
    scores = np.array([score for score, _ in pairs], np.float32)
    defective = np.array([truth for _, truth in pairs])
    if defective.all() or not defective.any():
        assert auroc(scores, defective) is None
    else:
        assert auroc(scores, defective) == pytest.approx(roc_auc_score(defective, scores))


@given(
    seed=st.integers(0, 10_000),
    change=st.sampled_from([lambda each: 3 * each - 7, lambda each: each**3, np.exp, np.arctan]),
)
def test_auroc_is_what_it_is_on_any_scale_and_in_any_order(
    seed: int, change: Callable[[NDArray[np.float32]], NDArray[np.float32]]
) -> None:
    random = np.random.default_rng(seed)
    scores = random.integers(-9, 9, 40).astype(np.float32)
    defective = np.arange(40) >= random.integers(1, 40)
    order = random.permutation(40)
    found = auroc(scores, defective)
    assert auroc(change(scores)[order], defective[order]) == found
    assert auroc(-scores, defective) == pytest.approx(1 - (found or 0))


@given(seed=st.integers(0, 10_000), factor=st.sampled_from([1e-3, 0.5, 1e6]))
def test_figures_over_pixels_are_what_they_are_on_any_scale_and_in_any_order(seed: int, factor: float) -> None:
    pictures = make_pictures(seed, 60)
    figures = accumulate(pictures)
    others = accumulate(
        [(np.float32(factor) * (pixels[::-1] - 5), truth[::-1]) for pixels, truth in reversed(pictures)]
    )
    assert others.auroc() == pytest.approx(figures.auroc(), abs=1e-9)
    assert others.au_pro() == pytest.approx(figures.au_pro(), abs=1e-9)


def test_positive_means_defective() -> None:
    rejected = np.array([True, True, True, False, False, False, False, False])
    defective = np.array([True, True, False, True, False, False, False, False])
    confusion = Confusion.of(rejected, defective)
    assert confusion.accuracy == pytest.approx(6 / 8)
    assert confusion.precision == pytest.approx(2 / 3)
    assert confusion.recall == pytest.approx(2 / 3)
    assert confusion.f1 == pytest.approx(2 / 3)
    assert confusion.false_reject_rate == pytest.approx(1 / 5)
    assert confusion.escape_rate == pytest.approx(1 / 3)


def test_figures_without_their_denominator_are_undefined() -> None:
    nothing_defective = Confusion.of(np.array([False]), np.array([False]))
    assert nothing_defective.accuracy == 1
    assert nothing_defective.precision is None
    assert nothing_defective.recall is None
    assert nothing_defective.f1 is None
    assert nothing_defective.escape_rate is None
