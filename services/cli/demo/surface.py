"""A chip's surface: where it faces, what it is made of. Drawn once a product, at a fixed resolution, upright."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from services.cli.demo.products import Product

Plane = NDArray[np.float32]

# Side of a surface in pixels. 1.5 times the default picture, so that turning and scaling it loses no detail.
SIDE = 480
MOULD = (0.135, 0.138, 0.145)  # filled epoxy: nearly black, a little blue
TIN = (0.80, 0.80, 0.78)
LASER = (0.60, 0.60, 0.575)  # epoxy burnt away leaves the pale filler
# Channels of Surface.shape and Surface.look.
NX, NY, COVER, GRAIN = range(4)
METAL = 3


@dataclass(frozen=True, slots=True)
class Lead:
    """Where a lead leaves the body: pixels of the surface, direction outward in degrees, sizes in pixels."""

    x: float
    y: float
    angle: float
    width: float
    length: float

    def matrix(self, *, bend: float = 0.0, reach: float = 1.0) -> Plane:
        """Affine map (2,3) from the lead's own pixels to the surface's, turned by `bend` degrees about its root."""
        turn = np.deg2rad(self.angle + bend)
        along, across = (np.cos(turn) * reach, np.sin(turn) * reach), (-np.sin(turn), np.cos(turn))
        middle = self.width / 2 + _MARGIN
        shift = [
            self.x - along[0] * _MARGIN - across[0] * middle,
            self.y - along[1] * _MARGIN - across[1] * middle,
        ]
        return np.array([[along[0], across[0], shift[0]], [along[1], across[1], shift[1]]], np.float32)


@dataclass(frozen=True, slots=True)
class Surface:
    """Planes of float32 (SIDE, SIDE, 4); the arrays belong to the holder and may be drawn on."""

    shape: Plane
    """Unit normal's x and y (y points down), cover (1 on the chip, 0 beside it), strength of the mould's grain."""
    look: Plane
    """Reflectance red, green, blue in 0..1, and how metallic it is (0 epoxy, 1 tin)."""

    def copy(self) -> "Surface":
        """A surface that can be drawn on without changing this one."""
        return Surface(self.shape.copy(), self.look.copy())


@dataclass(frozen=True, slots=True)
class Blank:
    """A product's surface without marking, and where its parts lie."""

    surface: Surface
    leads: tuple[Lead, ...]
    body: tuple[int, int, int, int]
    """x, y, width, height of the body, pixels of the surface."""
    inside: Plane
    """1 on the body, 0 elsewhere, float32 (SIDE, SIDE)."""


_MARGIN = 4  # empty pixels around a lead's own picture, so that its edges are interpolated
_BEVEL = 0.16  # millimetres of the slanted edge that lets the package leave its mould


@lru_cache(maxsize=8)
def blank(product: Product) -> Blank:
    """The product's unmarked surface, drawn once."""
    pixels = SIDE / product.field
    surface = Surface(np.zeros((SIDE, SIDE, 4), np.float32), np.zeros((SIDE, SIDE, 4), np.float32))
    leads = tuple(_leads(product, pixels))
    for lead in leads:
        draw_lead(surface, lead)
    inside = _draw_body(surface, product, pixels)
    width, height = (round(side * pixels) for side in product.body)
    return Blank(surface, leads, ((SIDE - width) // 2, (SIDE - height) // 2, width, height), inside)


def draw_lead(
    surface: Surface, lead: Lead, *, bend: float = 0.0, reach: float = 1.0, under: Plane | None = None
) -> Plane:
    """Draw a gull-wing lead and return where it lies, float32 (SIDE, SIDE) in 0..1.

    `under` (1 where something lies above, such as the body) is left as it is.
    """
    window, corner, side = _surroundings(lead)
    matrix = lead.matrix(bend=bend, reach=reach)
    matrix[:, 2] -= corner
    profile = cv2.warpAffine(_lead_profile(round(lead.length), round(lead.width)), matrix, (side, side))
    alpha = profile[..., 2] if under is None else profile[..., 2] * (1 - under[window])
    turn = np.deg2rad(lead.angle + bend)
    weight = alpha[..., None]
    slope, edge, grey = profile[..., 0], profile[..., 1], profile[..., 3]
    facing = np.dstack(
        [
            slope * np.cos(turn) - edge * np.sin(turn),
            slope * np.sin(turn) + edge * np.cos(turn),
            np.ones_like(slope),
            np.full_like(slope, 0.12),  # plated metal has a fine grain
        ]
    )
    tin = np.dstack([grey * TIN[0], grey * TIN[1], grey * TIN[2], np.ones_like(grey)])
    surface.shape[window] += weight * (facing - surface.shape[window])
    surface.look[window] += weight * (tin - surface.look[window])
    place = np.zeros((SIDE, SIDE), np.float32)
    place[window] = alpha
    return place


def _surroundings(lead: Lead) -> tuple[tuple[slice, slice], tuple[int, int], int]:
    """A square of the surface that holds the lead however it is bent: rows and columns, its corner, its side."""
    half = round(lead.length + lead.width) + _MARGIN
    side = 2 * half
    left, top = (min(max(round(place) - half, 0), SIDE - side) for place in (lead.x, lead.y))
    return (slice(top, top + side), slice(left, left + side)), (left, top), side


@lru_cache(maxsize=64)
def marking(product: Product, lines: tuple[str, ...]) -> Plane:
    """How deep the laser burnt, float32 (SIDE, SIDE) in 0..1, for these lines centred on the body."""
    pixels = SIDE / product.field
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    face = cv2.FontFace("sans")
    sizes = [product.text_height * pixels * (1.0 if row == 0 else 0.82) for row in range(len(lines))]
    pitch = 1.42
    y = SIDE / 2 - pitch * sum(sizes) / 2 + 0.16 * sizes[0]
    for text, capital in zip(lines, sizes, strict=True):
        points = round(capital / 0.72)  # a capital is about 0.72 of the font's size
        y += pitch * capital
        (_, _, width, _) = cv2.getTextSize((SIDE, SIDE), text, (0, 0), face, points, weight=420)
        cv2.putText(
            canvas, text, (round((SIDE - width) / 2), round(y - 0.2 * capital)), (255,), face, points, weight=420
        )
    burnt = cv2.GaussianBlur(canvas.astype(np.float32) / 255, (0, 0), 0.8)
    raster = 0.9 + 0.1 * np.sin(np.arange(SIDE, dtype=np.float32) * 2.1)  # the laser writes line by line
    return np.ascontiguousarray(burnt * raster[:, None])


def _leads(product: Product, pixels: float) -> list[Lead]:
    half_width, half_height = product.body[0] / 2, product.body[1] / 2
    top, right, bottom, left = product.leads
    leads = []
    for count, angle, middle, step in (
        (top, -90.0, (0.0, -half_height), (product.pitch, 0.0)),
        (right, 0.0, (half_width, 0.0), (0.0, product.pitch)),
        (bottom, 90.0, (0.0, half_height), (product.pitch, 0.0)),
        (left, 180.0, (-half_width, 0.0), (0.0, product.pitch)),
    ):
        for index in range(count):
            place = index - (count - 1) / 2
            leads.append(
                Lead(
                    x=SIDE / 2 + (middle[0] + place * step[0]) * pixels,
                    y=SIDE / 2 + (middle[1] + place * step[1]) * pixels,
                    angle=angle,
                    width=product.lead_width * pixels,
                    length=product.lead_length * pixels,
                )
            )
    return leads


@lru_cache(maxsize=8)
def _lead_profile(length: int, width: int) -> Plane:
    """A lead pointing right, float32 (width, length, 4) with margins: slope along, edge across, cover, brightness."""
    along = np.asarray((np.arange(length + 2 * _MARGIN) - _MARGIN) / length, np.float32)
    across = np.asarray((np.arange(width + 2 * _MARGIN) - _MARGIN - (width - 1) / 2) / (width / 2), np.float32)
    # Seen from above: the shoulder lies flat, the wing falls away from the body, the foot lies flat, its tip is cut.
    slope = (
        0.62 * _bump(along, 0.20, 0.56, 0.14)
        + 0.50 * _bump(along, 0.93, 1.1, 0.05)
        - 0.22 * _bump(along, 0.56, 0.68, 0.05)
    )
    edge = np.sign(across) * np.clip((np.abs(across) - 0.45) / 0.55, 0, 1) ** 1.6 * 0.7
    alpha = np.clip((1.0 - along) * length + 0.5, 0, 1) * (along > -2 * _MARGIN / length)
    sides = np.clip((1.0 - np.abs(across)) * width / 2 + 0.5, 0, 1)
    brushed = 1 + 0.06 * np.random.default_rng(7).standard_normal((across.size, 1)).astype(np.float32)
    brushed = brushed + 0.03 * np.random.default_rng(8).standard_normal((across.size, along.size)).astype(np.float32)
    shade = np.broadcast_to(1 - 0.45 * _bump(along, -0.2, 0.16, 0.12), brushed.shape)  # the body shades the root
    rows, columns = across.size, along.size
    return np.ascontiguousarray(
        np.dstack(
            [
                np.broadcast_to(slope, (rows, columns)),
                np.broadcast_to(edge[:, None], (rows, columns)),
                alpha[None, :] * sides[:, None],
                brushed * shade,
            ]
        ),
        np.float32,
    )


def _draw_body(surface: Surface, product: Product, pixels: float) -> Plane:
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    x, y = (x + 0.5 - SIDE / 2) / pixels, (y + 0.5 - SIDE / 2) / pixels
    distance, (away_x, away_y) = _rounded_box(x, y, product.body, radius=0.12)
    inside = np.clip(0.5 - distance * pixels, 0, 1)
    slant = np.clip((distance + _BEVEL) / 0.05, 0, 1) * 0.66
    normal_x, normal_y = slant * away_x, slant * away_y
    grain = np.ones_like(x)
    tone = np.ones_like(x)

    # The dimple that marks pin 1 is a shallow bowl, smoother than the rest; the ejector pin leaves a rimmed flat disc.
    centre_x, centre_y, radius = product.pin_1
    reach = np.hypot(x - centre_x, y - centre_y) / radius
    bowl = _bump(reach, -1, 1.0, 0.06)
    wall = np.clip(reach, 0, 1) ** 2
    normal_x -= bowl * wall * 0.85 * (x - centre_x) / radius
    normal_y -= bowl * wall * 0.85 * (y - centre_y) / radius
    grain *= 1 - 0.7 * bowl
    tone *= 1 + 0.10 * bowl
    centre_x, centre_y, radius = product.ejector
    reach = np.hypot(x - centre_x, y - centre_y)
    rim = np.exp(-(((reach - radius) / 0.035) ** 2)) * 0.16
    normal_x -= rim * (x - centre_x) / radius
    normal_y -= rim * (y - centre_y) / radius
    grain *= 1 - 0.35 * _bump(reach / radius, -1, 1.0, 0.04)

    weight = inside[..., None]
    shape = np.dstack([normal_x, normal_y, np.ones_like(x), grain])
    look = np.dstack([tone * MOULD[0], tone * MOULD[1], tone * MOULD[2], np.zeros_like(x)])
    surface.shape[:] += weight * (shape - surface.shape)
    surface.look[:] += weight * (look - surface.look)
    return np.asarray(inside, np.float32)


def _rounded_box(x: Plane, y: Plane, size: tuple[float, float], radius: float) -> tuple[Plane, tuple[Plane, Plane]]:
    """Signed distance to a rounded rectangle's edge (negative inside), and the unit direction away from it."""
    over_x, over_y = np.abs(x) - size[0] / 2 + radius, np.abs(y) - size[1] / 2 + radius
    outside = np.hypot(np.maximum(over_x, 0), np.maximum(over_y, 0))
    distance = outside + np.minimum(np.maximum(over_x, over_y), 0) - radius
    corner = (over_x > 0) & (over_y > 0)
    away_x = np.where(corner, over_x / np.maximum(outside, 1e-6), over_x >= over_y) * np.sign(x)
    away_y = np.where(corner, over_y / np.maximum(outside, 1e-6), over_y > over_x) * np.sign(y)
    return distance.astype(np.float32), (away_x.astype(np.float32), away_y.astype(np.float32))


def _bump(values: Plane, start: float, stop: float, soft: float) -> Plane:
    """1 between start and stop, 0 outside, with edges `soft` wide."""
    rise = np.clip((values - start) / soft, 0, 1)
    return np.asarray(rise * np.clip((stop - values) / soft, 0, 1), np.float32)
