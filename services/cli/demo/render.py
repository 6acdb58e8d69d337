"""Pictures of chips, as a line camera would take them: for the demo, the tests and the README.

Numpy and OpenCV only, a few milliseconds a picture, the same picture for the same seed.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from services.cli.demo.background import backdrop, grain_tile, noise_tile
from services.cli.demo.defects import Defect, finish
from services.cli.demo.products import PRODUCTS, product_named
from services.cli.demo.surface import COVER, SIDE, Plane, blank

__all__ = ["PRODUCTS", "Defect", "RenderedChip", "render_chip"]

DEFAULT_SIZE = 320
"""Side of a picture, pixels."""


@dataclass(frozen=True, slots=True)
class RenderedChip:
    """A picture of a chip and the truth about it."""

    picture: NDArray[np.uint8]
    """RGB, (size, size, 3)."""
    mask: NDArray[np.bool_]
    """True on the defect's pixels, (size, size); all False on a good chip."""
    defect: Defect | None


@dataclass(frozen=True, slots=True)
class _Light:
    """A lamp beside a bright ring around the lens."""

    x: float
    y: float
    z: float
    strength: float
    tint: tuple[float, float, float]


def render_chip(
    rng: np.random.Generator, product: str, defect: Defect | None = None, *, size: int = DEFAULT_SIZE
) -> RenderedChip:
    """Render one chip; light, pose, exposure and noise are drawn from `rng`.

    `product` is a name in `PRODUCTS`; ConfigurationError where it is not. `size` is the picture's side in pixels.
    """
    part = product_named(product)
    surface, spoilt = finish(rng, part, blank(part), defect)
    pose, turn = _pose(rng, size)
    light = _light(rng)

    shape = cv2.warpAffine(surface.shape, pose, (size, size), flags=cv2.INTER_LINEAR)
    look = cv2.warpAffine(surface.look, pose, (size, size), flags=cv2.INTER_LINEAR)
    mask = cv2.warpAffine(spoilt, pose, (size, size), flags=cv2.INTER_LINEAR) > 0.5

    cover = np.ascontiguousarray(shape[..., COVER])
    scene = backdrop(rng, part.background, size) * _each_colour(1 - _shadow(cover, light))
    scene += _each_colour(cover) * (_shade(shape, look, turn, light, grain_tile(rng, size)) - scene)
    return RenderedChip(_expose(rng, scene, light), mask, defect)


def _pose(rng: np.random.Generator, size: int) -> tuple[Plane, float]:
    """How the chip lies under the camera: affine map (2,3) from surface to picture, and its turn in radians."""
    turn = float(np.clip(rng.normal(0, 2.5), -6, 6))
    zoom = size / SIDE * float(rng.uniform(0.97, 1.03))
    matrix = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), turn, zoom)
    matrix[:, 2] += size / 2 - SIDE / 2 + rng.uniform(-0.025, 0.025, 2) * size
    return matrix.astype(np.float32), float(-np.deg2rad(turn))


def _light(rng: np.random.Generator) -> _Light:
    azimuth = np.deg2rad(-125 + rng.uniform(-18, 18))  # from the upper left
    height = np.deg2rad(rng.uniform(48, 60))
    warmth = float(rng.uniform(-0.025, 0.025))
    return _Light(
        x=float(np.cos(azimuth) * np.cos(height)),
        y=float(np.sin(azimuth) * np.cos(height)),
        z=float(np.sin(height)),
        strength=float(rng.uniform(0.92, 1.08)),
        tint=(1 + warmth, 1.0, 1 - warmth),
    )


def _shade(shape: Plane, look: Plane, turn: float, light: _Light, grain: Plane) -> Plane:
    """Light reflected to the camera straight above, float32 (size, size, 3)."""
    facing_x, facing_y, _, rough = cv2.split(shape)
    red, green, blue, metal = cv2.split(look)
    rough *= 0.06
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    normal_x = cos * facing_x - sin * facing_y + rough * grain[0]
    normal_y = sin * facing_x + cos * facing_y + rough * grain[1]
    normal_z = np.sqrt(np.clip(1 - normal_x * normal_x - normal_y * normal_y, 0.02, 1))
    toward = normal_x * light.x + normal_y * light.y + normal_z * light.z
    # Where the mirrored line of sight points: tin shows the lamp, the ring above and the dark room at the sides.
    lamp = np.clip(2 * normal_z * toward - light.z, 0, 1)
    upward = np.clip(2 * normal_z * normal_z - 1, 0, 1)
    lamp_2 = lamp * lamp
    epoxy = 0.18 + 1.08 * np.clip(toward, 0, 1)
    tin = 0.20 + 0.50 * upward + 0.62 * lamp_2
    lit = epoxy + metal * (tin - epoxy)
    gloss = (0.17 * lamp_2 * lamp_2 + 0.03 * lamp) * (1 - metal)  # epoxy is a little glossy
    return np.asarray(cv2.merge([red * lit + gloss, green * lit + gloss, blue * lit + gloss]), np.float32)


def _shadow(cover: Plane, light: _Light) -> Plane:
    """How dark the chip makes its surroundings, float32 (size, size) in 0..1."""
    size = cover.shape[0]
    small = cv2.resize(cover, (size // 2, size // 2), interpolation=cv2.INTER_AREA)
    reach = 0.035 * size / 2
    move = np.array([[1, 0, -light.x * reach], [0, 1, -light.y * reach]], np.float32)
    cast = cv2.GaussianBlur(cv2.warpAffine(small, move, small.shape[::-1]), (0, 0), size * 0.008)
    contact = cv2.GaussianBlur(small, (0, 0), size * 0.005)
    return np.asarray(cv2.resize(np.maximum(0.55 * cast, 0.35 * contact), (size, size)), np.float32)


def _expose(rng: np.random.Generator, scene: Plane, light: _Light) -> NDArray[np.uint8]:
    """Lens, exposure and sensor: a soft ramp of light, a little blur, shot and read noise."""
    size = scene.shape[0]
    across = np.linspace(-1, 1, size, dtype=np.float32)
    ramp_x, ramp_y = (np.float32(slope) for slope in rng.uniform(-0.05, 0.05, 2))
    falloff = (
        1 + ramp_x * across[None, :] + ramp_y * across[:, None] - 0.06 * (across[None, :] ** 2 + across[:, None] ** 2)
    )
    exposure = light.strength * float(rng.uniform(0.95, 1.05))
    scene = cv2.GaussianBlur(scene, (0, 0), float(rng.uniform(0.45, 0.7)))
    scene = scene * cv2.merge([falloff * np.float32(exposure * 255 * tint) for tint in light.tint])
    np.maximum(scene, 0, out=scene)
    scene += np.sqrt(scene * np.float32(0.045) + np.float32(2.0)) * noise_tile(rng, size)
    return np.clip(scene, 0, 255).astype(np.uint8)


def _each_colour(plane: Plane) -> Plane:
    """The plane three times over, (H, W, 3): four times as fast to multiply by as a broadcast one."""
    return np.asarray(cv2.merge([plane, plane, plane]), np.float32)
