"""Seven ways to spoil a chip, each drawn on its surface with the pixels it spoilt."""

from dataclasses import replace
from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from services.cli.demo.products import Product
from services.cli.demo.surface import (
    COVER,
    GRAIN,
    LASER,
    METAL,
    NX,
    NY,
    SIDE,
    Blank,
    Plane,
    Surface,
    draw_lead,
    marking,
)

_SUBPIXEL = 4  # fractional bits of cv2's coordinates


class Defect(StrEnum):
    """What is wrong with a chip; the value is the folder's name."""

    MISSING_LEAD = "missing-lead"
    BENT_LEAD = "bent-lead"
    CRACK = "crack"
    SCRATCH = "scratch"
    CONTAMINATION = "contamination"
    MISSING_MARKING = "missing-marking"
    WRONG_MARKING = "wrong-marking"


def finish(rng: np.random.Generator, product: Product, chip: Blank, defect: Defect | None) -> tuple[Surface, Plane]:
    """A marked surface with at most one defect, and the defect's pixels: float32 (SIDE, SIDE), spoilt above 0.5."""
    surface = chip.surface.copy()
    offset = (int(rng.integers(-3, 4)), int(rng.integers(-3, 4)))  # pixels the laser misses the centre by
    depth = float(rng.uniform(0.78, 1.0))
    wanted = product.marking
    burnt: tuple[str, ...] | None = wanted
    if defect is Defect.MISSING_MARKING:
        burnt = None
    elif defect is Defect.WRONG_MARKING:
        burnt = product.other_markings[int(rng.integers(len(product.other_markings)))]
    if burnt is not None:
        _mark(surface, chip, _shifted(marking(product, burnt), offset) * depth)
    match defect:
        case None:
            spoilt = np.zeros((SIDE, SIDE), np.float32)
        case Defect.MISSING_MARKING:
            spoilt = _around(_shifted(marking(product, wanted), offset))
        case Defect.WRONG_MARKING:
            spoilt = _around(_shifted(np.maximum(marking(product, wanted), marking(product, burnt or ())), offset))
        case Defect.MISSING_LEAD:
            spoilt = _missing_lead(rng, surface, chip)
        case Defect.BENT_LEAD:
            spoilt = _bent_lead(rng, surface, chip)
        case Defect.CRACK:
            spoilt = _crack(rng, surface, chip)
        case Defect.SCRATCH:
            spoilt = _scratch(rng, surface, chip)
        case Defect.CONTAMINATION:
            spoilt = _contamination(rng, surface, chip)
    return surface, spoilt


def _mark(surface: Surface, chip: Blank, burnt: Plane) -> None:
    x, y, width, height = chip.body
    part = (slice(y, y + height), slice(x, x + width))
    weight = burnt[part]
    _blend(surface.look[part], weight, LASER)
    surface.shape[part][..., GRAIN] += weight * 0.8  # burnt epoxy is rough


def _blend(look: Plane, weight: Plane, colour: tuple[float, float, float]) -> None:
    """Move the reflectance of `look` (H, W, 4) toward a colour, in place."""
    for channel, wanted in enumerate(colour):
        look[..., channel] += weight * (np.float32(wanted) - look[..., channel])


def _missing_lead(rng: np.random.Generator, surface: Surface, chip: Blank) -> Plane:
    lead = chip.leads[int(rng.integers(len(chip.leads)))]
    gone = _take_away(surface, chip, lead_index=chip.leads.index(lead))
    if rng.random() < 0.5:  # broken off, a stub is left
        stub = replace(lead, length=lead.length * float(rng.uniform(0.15, 0.3)))
        gone = gone - draw_lead(surface, stub, under=chip.inside)
    return gone


def _bent_lead(rng: np.random.Generator, surface: Surface, chip: Blank) -> Plane:
    index = int(rng.integers(len(chip.leads)))
    gone = _take_away(surface, chip, lead_index=index)
    bend = float(rng.uniform(16, 30)) * float(rng.choice([-1.0, 1.0]))
    now = draw_lead(surface, chip.leads[index], bend=bend, reach=float(rng.uniform(0.8, 1.0)), under=chip.inside)
    return np.maximum(gone, now)


def _take_away(surface: Surface, chip: Blank, *, lead_index: int) -> Plane:
    nothing = Surface(np.zeros_like(surface.shape), np.zeros_like(surface.look))
    place = draw_lead(nothing, chip.leads[lead_index], under=chip.inside)
    surface.shape[..., COVER] *= 1 - cv2.dilate(place, np.ones((3, 3), np.uint8)) * (1 - chip.inside)
    return place


def _crack(rng: np.random.Generator, surface: Surface, chip: Blank) -> Plane:
    """A crack runs in from an edge, zigzags and forks; the break's two sides face different ways."""
    x, y, width, height = chip.body
    heading = float(rng.uniform(0, 2 * np.pi))
    start = np.array([x + width / 2, y + height / 2]) + 0.5 * np.array([width, height]) * _on_square(heading)
    inward = heading + np.pi + float(rng.uniform(-0.6, 0.6))
    length = float(rng.uniform(0.45, 0.8)) * min(width, height)
    trunk = _walk(rng, start, inward, length, step=9.0, wander=0.45)
    fork = trunk[int(rng.integers(len(trunk) // 3, 2 * len(trunk) // 3 + 1))]
    branch = _walk(rng, fork, inward + float(rng.choice([-0.8, 0.8])), length * 0.4, step=8.0, wander=0.4)
    gap = np.zeros((SIDE, SIDE), np.float32)
    _polyline(gap, trunk, 2.6)
    _polyline(gap, branch, 1.8)
    gap = cv2.GaussianBlur(gap, (0, 0), 0.7) * chip.inside
    _blend(surface.look, gap * np.float32(0.85), (0.0, 0.0, 0.0))
    surface.shape[..., GRAIN] *= 1 - gap
    lip = cv2.GaussianBlur(gap, (0, 0), 1.6)
    surface.shape[..., NX] += 2.2 * cv2.Sobel(lip, cv2.CV_32F, 1, 0, ksize=3, scale=0.25)
    surface.shape[..., NY] += 2.2 * cv2.Sobel(lip, cv2.CV_32F, 0, 1, ksize=3, scale=0.25)
    return np.asarray(cv2.dilate(gap, np.ones((5, 5), np.uint8)) * chip.inside * 1.4, np.float32)


def _scratch(rng: np.random.Generator, surface: Surface, chip: Blank) -> Plane:
    """Something hard was drawn over the body: a few near-parallel bright lines that fade in and out."""
    x, y, width, height = chip.body
    centre = np.array([x + width * rng.uniform(0.3, 0.7), y + height * rng.uniform(0.3, 0.7)])
    heading = float(rng.uniform(0, np.pi))
    length = float(rng.uniform(0.5, 0.85)) * min(width, height)
    bright = np.zeros((SIDE, SIDE), np.float32)
    for _ in range(int(rng.integers(2, 6))):
        way = heading + float(rng.normal(0, 0.05))
        along = np.array([np.cos(way), np.sin(way)])
        start = centre + rng.normal(0, 6.0, 2) - along * length / 2
        line = np.zeros_like(bright)
        _polyline(
            line,
            _walk(rng, start, way, length * float(rng.uniform(0.6, 1)), step=10.0, wander=0.04),
            float(rng.choice([2, 3])),
        )
        bright = np.maximum(bright, line * float(rng.uniform(0.8, 1.3)))
    bright = cv2.GaussianBlur(bright, (0, 0), 0.8) * chip.inside
    _blend(surface.look, np.minimum(bright, 1.0), LASER)
    edge = cv2.GaussianBlur(bright, (0, 0), 1.2)
    surface.shape[..., NX] += cv2.Sobel(edge, cv2.CV_32F, 1, 0, ksize=3, scale=0.3)
    surface.shape[..., NY] += cv2.Sobel(edge, cv2.CV_32F, 0, 1, ksize=3, scale=0.3)
    return np.asarray(cv2.dilate(bright, np.ones((5, 5), np.uint8)) * chip.inside * 2.0, np.float32)


def _contamination(rng: np.random.Generator, surface: Surface, chip: Blank) -> Plane:
    """Dried flux (a glossy amber stain), a smear of paste, or a fibre."""
    x, y, width, height = chip.body
    centre = np.array([x + width * rng.uniform(0.12, 0.88), y + height * rng.uniform(0.12, 0.88)])
    if rng.random() < 0.3:
        hair = np.zeros((SIDE, SIDE), np.float32)
        _polyline(
            hair,
            _walk(rng, centre, float(rng.uniform(0, 2 * np.pi)), 0.7 * min(width, height), step=7.0, wander=0.3),
            2.6,
        )
        hair = cv2.GaussianBlur(hair, (0, 0), 0.8)
        _cover_with(surface, hair, (0.66, 0.62, 0.55), opacity=0.9)
        return np.asarray(cv2.dilate(hair, np.ones((3, 3), np.uint8)) * 1.2, np.float32)
    colour = ((0.42, 0.29, 0.12), (0.46, 0.46, 0.44), (0.50, 0.44, 0.34))[int(rng.integers(3))]
    reach = float(rng.uniform(0.08, 0.17)) * min(width, height)
    blob = _blob(rng, centre, reach)
    for _ in range(int(rng.integers(2, 7))):  # splashes
        blob = np.maximum(
            blob, _blob(rng, centre + rng.normal(0, reach * 1.3, 2), reach * float(rng.uniform(0.08, 0.25)))
        )
    _cover_with(surface, blob, colour, opacity=float(rng.uniform(0.55, 0.85)))
    return blob


def _cover_with(surface: Surface, blob: Plane, colour: tuple[float, float, float], *, opacity: float) -> None:
    _blend(surface.look, blob * np.float32(opacity), colour)
    surface.look[..., METAL] *= 1 - 0.8 * blob
    surface.shape[..., COVER] = np.maximum(surface.shape[..., COVER], blob)
    surface.shape[..., GRAIN] *= 1 - 0.5 * blob
    thickness = cv2.GaussianBlur(blob, (0, 0), 3.0)  # it is thick: its rim catches the light
    surface.shape[..., NX] -= 2.4 * cv2.Sobel(thickness, cv2.CV_32F, 1, 0, ksize=3, scale=0.25)
    surface.shape[..., NY] -= 2.4 * cv2.Sobel(thickness, cv2.CV_32F, 0, 1, ksize=3, scale=0.25)


def _blob(rng: np.random.Generator, centre: NDArray[np.float64], reach: float) -> Plane:
    """An irregular spot, float32 (SIDE, SIDE): a circle whose radius wanders by a few low harmonics."""
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    radius = np.ones_like(angle)
    for harmonic in range(2, 6):
        radius += rng.normal(0, 0.28 / harmonic) * np.cos(harmonic * angle + rng.uniform(0, 2 * np.pi))
    stretch = rng.uniform(0.7, 1.4)
    points = centre + reach * np.column_stack([np.cos(angle) * radius * stretch, np.sin(angle) * radius / stretch])
    spot = np.zeros((SIDE, SIDE), np.float32)
    cv2.fillPoly(spot, [np.round(points * 2**_SUBPIXEL).astype(np.int32)], (1.0,), cv2.LINE_AA, _SUBPIXEL)
    return np.asarray(cv2.GaussianBlur(spot, (0, 0), 1.3), np.float32)


def _walk(
    rng: np.random.Generator, start: NDArray[np.float64], heading: float, length: float, *, step: float, wander: float
) -> NDArray[np.float64]:
    """A path (n, 2) of `length` pixels whose heading wanders by `wander` radians a step."""
    headings = heading + rng.normal(0, wander, max(3, round(length / step)))
    steps = step * np.column_stack([np.cos(headings), np.sin(headings)])
    return np.vstack([start, start + np.cumsum(steps, axis=0)])


def _polyline(plane: Plane, points: NDArray[np.float64], width: float) -> None:
    """Draw an antialiased path that is `width` pixels wide."""
    fixed = [np.round(points * 2**_SUBPIXEL).astype(np.int32)]
    cv2.polylines(plane, fixed, False, (1.0,), max(1, round(width)), cv2.LINE_AA, _SUBPIXEL)


def _on_square(heading: float) -> NDArray[np.float64]:
    """Where a ray from the centre leaves the square from -1 to 1."""
    ray = np.array([np.cos(heading), np.sin(heading)])
    return np.asarray(ray / np.abs(ray).max(), np.float64)


def _around(burnt: Plane) -> Plane:
    """The marking's letters and the gaps between their strokes."""
    return np.asarray(cv2.dilate(burnt, np.ones((9, 9), np.uint8)) * 1.6, np.float32)


def _shifted(plane: Plane, offset: tuple[int, int]) -> Plane:
    return np.roll(plane, offset, axis=(1, 0))
