"""The study's plots, as SVG: drawn here, since a page that needs no network needs no plotting library either."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from services.trainer.evaluation.ablation.results import Line

COLOURS = {"random": "#c2571a", "grouped": "#1f5fa8"}
WIDTH, LABELS, RIGHT, TOP, STEP = 860, 220, 40, 46, 24  # pixels
SMALL, LINE, LETTER = 11, 12, 6.5  # pixels: size of small text, its lines' distance, a letter's width at most
FASTEST_MS = 0.1  # a logarithm has no zero; nothing that looks at a picture is as fast
_INK, _GRID = "#222", "#ddd"


@dataclass(frozen=True, slots=True)
class _Axis:
    """Maps values to pixels; `low` is less than `high`."""

    low: float
    high: float
    start: float
    """Pixel of `low`."""
    end: float

    @classmethod
    def of_measure(cls, values: Sequence[float], start: float, end: float) -> "_Axis":
        """From the tenth below the least value up to 1, and a tenth long where all are 1."""
        tenth = math.floor(min(values, default=0.0) * 10) / 10
        return cls(min(max(tenth, 0.0), 0.9), 1.0, start, end)

    def at(self, value: float) -> float:
        """The pixel; what is beyond an end is drawn at the end."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def tenths(self) -> list[tuple[float, str]]:
        """Pixel and text of each mark of a measure's axis."""
        return [(self.at(tenth / 10), f"{tenth / 10:.1f}") for tenth in range(round(self.low * 10), 11)]


def measure_plot(lines: Sequence[Line], measure: str, title: str) -> str:
    """A row of dots a row of the study: mean and standard deviation, one colour a kind of split."""
    rows = list(dict.fromkeys(line.row for line in lines))
    lows = [line.mean(measure) - (line.deviation(measure) or 0.0) for line in lines]
    axis = _Axis.of_measure([low for low in lows if math.isfinite(low)], LABELS, WIDTH - RIGHT)
    bottom = TOP + STEP * len(rows)
    parts = [_legend(lines)]
    for x, tenth in axis.tenths():
        parts += [_line((x, TOP - 6), (x, bottom), _GRID), _text(x, bottom + 18, tenth, "middle")]
    for index, row in enumerate(rows):
        y = TOP + STEP * index + STEP / 2
        parts.append(_text(LABELS - 12, y + 4, row.title, "end"))
        for line in (line for line in lines if line.row == row):
            dodge = 0 if len({line.kind for line in lines}) == 1 else -4 if line.kind == "random" else 4
            parts += _mark(line, measure, axis, y + dodge)
    return _svg(title, bottom + 40, parts)


def _mark(line: Line, measure: str, axis: _Axis, y: float) -> list[str]:
    """A dot at the mean, and a bar as long as the standard deviation on either side where there is one."""
    mean, deviation = line.mean(measure), line.deviation(measure)
    if not math.isfinite(mean):
        return [_text(axis.start + 4, y + 4, f"{line.kind}: not defined", "start", SMALL)]
    told = f"{line.row.title}, {line.kind}: {mean:.3f}"
    if deviation is None or not math.isfinite(deviation):
        return [_dot(axis.at(mean), y, COLOURS[line.kind], told)]
    ends = (axis.at(mean - deviation), y), (axis.at(mean + deviation), y)
    return [
        _line(*ends, COLOURS[line.kind], 2),
        _dot(axis.at(mean), y, COLOURS[line.kind], f"{told} ± {deviation:.3f}"),
    ]


def time_plot(lines: Sequence[Line], kind: str) -> str:
    """AUROC against milliseconds an image, the latter on a logarithmic axis."""
    of_kind = [line for line in lines if line.kind == kind]
    shown = [line for line in of_kind if math.isfinite(line.mean("auroc")) and math.isfinite(line.mean("ms_per_image"))]
    height = 460
    base, ceiling = height - 50, TOP
    times = {line.row: math.log10(max(line.mean("ms_per_image"), FASTEST_MS)) for line in shown}
    ends = min(times.values(), default=0.0), max(times.values(), default=0.0)
    across = _Axis(math.floor(ends[0]), math.ceil(ends[1] + 0.3), LABELS, WIDTH - RIGHT)
    up = _Axis.of_measure([line.mean("auroc") for line in shown], base, ceiling)
    parts = []
    for power in range(round(across.low), round(across.high) + 1):
        x = across.at(power)
        parts += [_line((x, ceiling), (x, base), _GRID), _text(x, base + 18, f"{10**power:g} ms", "middle")]
    for y, tenth in up.tenths():
        parts += [_line((LABELS, y), (WIDTH - RIGHT, y), _GRID), _text(LABELS - 8, y + 4, tenth, "end")]
    labels: list[tuple[float, float, float]] = []
    for line in shown:
        x, y = across.at(times[line.row]), up.at(line.mean("auroc"))
        parts.append(_dot(x, y, COLOURS[kind], f"{line.row.title}: {line.mean('auroc'):.3f}"))
        parts.append(_label(x, y, line.row.title, labels))
    if len(shown) < len(of_kind):
        missing = ", ".join(line.row.title for line in of_kind if line not in shown)
        parts.append(_text(12, height - 8, f"not defined: {missing}", "start", SMALL))
    return _svg(f"AUROC against time, {kind} splits", height, parts)


def _label(x: float, y: float, name: str, taken: list[tuple[float, float, float]]) -> str:
    """Beside a dot, and below the labels in its way: `taken` has left, right and height of each, and gets this one."""
    wide = LETTER * len(name)
    left = x + 7 if x + 7 + wide <= WIDTH else x - 7 - wide
    height = y + 4
    while any(abs(height - other) < LINE and left < end and start < left + wide for start, end, other in taken):
        height += LINE
    taken.append((left, left + wide, height))
    return _text(left, height, name, "start", SMALL)


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'font-family="sans-serif" font-size="13" role="img" aria-label="{escape(title)}">'
        f'<rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="12" y="22" font-size="16" fill="{_INK}">{escape(title)}</text>' + "".join(parts) + "</svg>"
    )


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
