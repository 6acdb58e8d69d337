"""The study's plots, as SVG: drawn here, since a page that needs no network needs no plotting library either."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from services.trainer.evaluation.ablation.results import Line

COLOURS = {"random": "#c2571a", "grouped": "#1f5fa8"}
WIDTH, LABELS, RIGHT, TOP, STEP = 860, 220, 40, 46, 24  # pixels
_INK, _GRID = "#222", "#ddd"


@dataclass(frozen=True, slots=True)
class _Axis:
    """Maps values to pixels across."""

    low: float
    high: float

    def x(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return LABELS + share * (WIDTH - LABELS - RIGHT)


def measure_plot(lines: Sequence[Line], measure: str, title: str) -> str:
    """A row of dots a row of the study: mean and standard deviation, one colour a kind of split."""
    rows = list(dict.fromkeys(line.row for line in lines))
    low = min(line.mean(measure) - line.deviation(measure) for line in lines)
    axis = _Axis(max(0.0, math.floor(low * 10) / 10), 1.0)
    height = TOP + STEP * len(rows) + 40
    parts = [_heading(title), _legend(lines)]
    bottom = TOP + STEP * len(rows)
    for tenth in range(round(axis.low * 10), 11):
        x = axis.x(tenth / 10)
        parts += [_line((x, TOP - 6), (x, bottom), _GRID), _text(x, bottom + 18, f"{tenth / 10:.1f}", "middle")]
    for index, row in enumerate(rows):
        y = TOP + STEP * index + STEP / 2
        parts.append(_text(LABELS - 12, y + 4, row.title, "end"))
        for line in (line for line in lines if line.row == row):
            mean, deviation = line.mean(measure), line.deviation(measure)
            dodge = 0 if len({line.kind for line in lines}) == 1 else -4 if line.kind == "random" else 4
            colour = COLOURS[line.kind]
            parts.append(_line((axis.x(mean - deviation), y + dodge), (axis.x(mean + deviation), y + dodge), colour, 2))
            parts.append(
                _dot(axis.x(mean), y + dodge, colour, f"{row.title}, {line.kind}: {mean:.3f} ± {deviation:.3f}")
            )
    return _svg(height, parts)


def time_plot(lines: Sequence[Line], kind: str) -> str:
    """AUROC against milliseconds an image, the latter on a logarithmic axis."""
    shown = [line for line in lines if line.kind == kind]
    height = 460
    base, ceiling = height - 50, TOP
    times = [math.log10(max(line.mean("ms_per_image"), 0.1)) for line in shown]
    axis = _Axis(math.floor(min(times)), math.ceil(max(times) + 0.3))
    low = math.floor(min(line.mean("auroc") for line in shown) * 10) / 10
    y_of: Callable[[float], float] = lambda value: base - (value - low) / (1 - low + 1e-9) * (base - ceiling)  # noqa: E731
    parts = [_heading(f"AUROC against time, {kind} splits")]
    for power in range(round(axis.low), round(axis.high) + 1):
        x = axis.x(power)
        parts += [_line((x, ceiling), (x, base), _GRID), _text(x, base + 18, f"{10**power:g} ms", "middle")]
    for tenth in range(round(low * 10), 11):
        y = y_of(tenth / 10)
        parts += [_line((LABELS, y), (WIDTH - RIGHT, y), _GRID), _text(LABELS - 8, y + 4, f"{tenth / 10:.1f}", "end")]
    for line, time in zip(shown, times, strict=True):
        x, y = axis.x(time), y_of(line.mean("auroc"))
        parts.append(_dot(x, y, COLOURS[kind], f"{line.row.title}: {line.mean('auroc'):.3f}"))
        parts.append(_text(x + 7, y + 4, line.row.name, "start", size=11))
    return _svg(height, parts)


def _svg(height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'font-family="sans-serif" font-size="13" role="img"><rect width="100%" height="100%" fill="#fff"/>'
        + "".join(parts)
        + "</svg>"
    )


def _heading(title: str) -> str:
    return f'<text x="12" y="22" font-size="16" fill="{_INK}">{escape(title)}</text>'


def _legend(lines: Sequence[Line]) -> str:
    kinds = dict.fromkeys(line.kind for line in lines)
    return "".join(
        f'<circle cx="{WIDTH - 220 + 100 * index}" cy="18" r="5" fill="{COLOURS[kind]}"/>'
        + _text(WIDTH - 208 + 100 * index, 22, kind, "start")
        for index, kind in enumerate(kinds)
    )


def _line(start: tuple[float, float], end: tuple[float, float], colour: str, width: int = 1) -> str:
    (x1, y1), (x2, y2) = start, end
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'


def _dot(x: float, y: float, colour: str, told: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"><title>{escape(told)}</title></circle>'


def _text(x: float, y: float, text: str, anchor: str, size: int = 13) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{_INK}">{escape(text)}</text>'
    )
