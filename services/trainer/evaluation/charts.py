"""Curves and histograms as inline SVG: a report must open anywhere, without a network and in ten years."""

import math
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 460, 320
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 14, 44
NORMAL, DEFECTIVE, INK, FAINT, ACCENT = "#3b7dd8", "#d8433b", "#222", "#ddd", "#222"
BINS = 48
FINEST = 1.0  # pixels between points of a curve: finer than the eye
TICKS = 5  # of an axis, about

Points = Sequence[tuple[float, float]]
Ticks = Sequence[tuple[float, str]]
"""Where along an axis, from 0 to 1, and what stands there."""


def roc(scores: NDArray[np.float32], defective: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """(false-reject rate, recall) at every threshold, from the highest down."""
    found, wrong = _counts(scores, defective)
    return [
        (0.0, 0.0),
        *zip(wrong / max(int((~defective).sum()), 1), found / max(int(defective.sum()), 1), strict=True),
    ]


def precision_recall(scores: NDArray[np.float32], defective: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """(recall, precision) at every threshold, from the highest down."""
    found, wrong = _counts(scores, defective)
    return list(zip(found / max(int(defective.sum()), 1), found / np.maximum(found + wrong, 1), strict=True))


def curve(points: Points, *, across: str, up: str, here: tuple[float, float] | None, chance: bool = False) -> str:
    """A curve over the unit square; `here` marks where the threshold lies, `chance` draws the diagonal."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in _thinned([(_x(x), _y(y)) for x, y in points]))
    parts = _axes(across, up, *(2 * [_round_ticks(0, 1)]))
    if chance:
        parts.append(
            f'<line x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}" stroke="{INK}" stroke-dasharray="2 4"/>'
        )
    parts.append(f'<polyline points="{path}" fill="none" stroke="{NORMAL}" stroke-width="2"/>')
    if here:
        parts.append(f'<circle cx="{_x(here[0]):.1f}" cy="{_y(here[1]):.1f}" r="5" fill="{DEFECTIVE}"/>')
    return _svg(parts, f"{up} against {across}")


def histogram(normal: NDArray[np.float32], abnormal: NDArray[np.float32], threshold: float) -> str:
    """Both classes' scores, each as shares of its own, with the threshold; the farthest are drawn at the ends."""
    # By class: of all scores together, a few defective pictures beside many good ones would be the farthest.
    ends = [threshold, *(q for scores in (normal, abnormal) if len(scores) for q in np.quantile(scores, [0.001, 0.98]))]
    low, high = min(ends), max(ends)
    margin = 0.04 * (high - low or 1.0)
    edges = np.linspace(low - margin, high + margin, BINS + 1)
    shares = [
        np.histogram(np.clip(scores, edges[0], edges[-1]), edges)[0] / max(len(scores), 1)
        for scores in (normal, abnormal)
    ]
    tallest = max(float(share.max()) for share in shares) or 1.0
    axes = _round_ticks(float(edges[0]), float(edges[-1])), _round_ticks(0, tallest)
    parts = _axes("score", "share of pictures", *axes)
    for share, colour in zip(shares, (NORMAL, DEFECTIVE), strict=True):
        for index, value in enumerate(share):
            if value:
                top = _y(float(value) / tallest)
                parts.append(
                    f'<rect x="{_x(index / BINS):.1f}" y="{top:.1f}" width="{(_x(1) - _x(0)) / BINS:.1f}" '
                    f'height="{_y(0) - top:.1f}" fill="{colour}" fill-opacity="0.55"/>'
                )
    along = (threshold - float(edges[0])) / float(edges[-1] - edges[0])
    at, anchor = _x(along), "start" if along < 0.5 else "end"  # towards the middle, where there is room
    parts.append(
        f'<line x1="{at:.1f}" y1="{_y(1)}" x2="{at:.1f}" y2="{_y(0)}" stroke="{ACCENT}" stroke-dasharray="5 3"/>'
    )
    parts.append(
        f'<text x="{at:.1f}" y="{_y(1) - 4}" text-anchor="{anchor}" fill="{ACCENT}">threshold {threshold:.4g}</text>'
    )
    return _svg(parts, "distribution of scores")


def _round_ticks(low: float, high: float) -> Ticks:
    """Some `TICKS` round numbers from `low` to `high`, and the share of the way at which each lies."""
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * digit for digit in (1, 2, 5, 10) if power * digit >= rough)
    numbers = [step * count for count in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return [((number - low) / (high - low), f"{number:.6g}") for number in numbers]


def _counts(scores: NDArray[np.float32], defective: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Defective and normal pictures at or above every distinct score, from the highest down."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)  # of equal scores, all or none are rejected
    return np.cumsum(defective[order])[last], np.cumsum(~defective[order])[last]


def _thinned(pixels: Points) -> list[tuple[float, float]]:
    """Without those that add nothing to see. Not by their number: a few defective pictures are the first of many."""
    kept = [pixels[0]]
    for x, y in pixels[1:]:
        if max(abs(x - kept[-1][0]), abs(y - kept[-1][1])) >= FINEST:
            kept.append((x, y))
    return kept if kept[-1] == pixels[-1] else [*kept, pixels[-1]]


def _axes(across: str, up: str, ticks: Ticks, rungs: Ticks) -> list[str]:
    parts = []
    for place, text in ticks:
        parts.append(f'<line x1="{_x(place):.1f}" y1="{_y(0)}" x2="{_x(place):.1f}" y2="{_y(0) + 4}" stroke="{INK}"/>')
        parts.append(f'<text x="{_x(place):.1f}" y="{_y(0) + 16}" text-anchor="middle">{text}</text>')
    for place, text in rungs:
        parts.append(f'<line x1="{_x(0)}" y1="{_y(place):.1f}" x2="{_x(1)}" y2="{_y(place):.1f}" stroke="{FAINT}"/>')
        parts.append(f'<text x="{_x(0) - 6}" y="{_y(place) + 4:.1f}" text-anchor="end">{text}</text>')
    parts.append(f'<line x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(0)}" stroke="{INK}"/>')
    parts.append(f'<text x="{_x(0.5):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{escape(across)}</text>')
    middle = f"{_y(0.5):.1f}"
    parts.append(
        f'<text x="12" y="{middle}" text-anchor="middle" transform="rotate(-90 12 {middle})">{escape(up)}</text>'
    )
    return parts


def _svg(parts: Sequence[str], title: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}" font-size="11">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def _x(share: float) -> float:
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _y(share: float) -> float:
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
