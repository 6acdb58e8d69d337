"""Pictures of chips, as a line camera would take them: for the demo, the tests and the README.

Numpy and OpenCV only, a few milliseconds a picture, the same picture for the same seed.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from services.cli.demo.background import backdrop, grain_tile
from services.cli.demo.defects import Defect, finish
from services.cli.demo.products import PRODUCTS, product_named
from services.cli.demo.surface import COVER, GRAIN, METAL, NX, NY, SIDE, Plane, blank

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

    scene = backdrop(rng, part.background, size)
    scene *= (1 - _shadow(shape[..., COVER], light))[..., None]
    chip = _shade(shape, look, turn, light, grain_tile(rng, size))
    cover = shape[..., COVER, None]
    scene += cover * (chip - scene)
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
    rough = grain * (shape[..., GRAIN] * 0.11)[..., None]
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    normal_x = cos * shape[..., NX] - sin * shape[..., NY] + rough[..., 0]
    normal_y = sin * shape[..., NX] + cos * shape[..., NY] + rough[..., 1]
    normal_z = np.sqrt(np.clip(1 - normal_x**2 - normal_y**2, 0.02, 1))
    toward = normal_x * light.x + normal_y * light.y + normal_z * light.z
    # Where the mirrored line of sight points: tin shows the lamp, the ring above and the dark room at the sides.
    mirrored = 2 * normal_z * toward - light.z
    upward = 2 * normal_z * normal_z - 1
    lamp = np.clip(mirrored, 0, 1)
    epoxy = 0.42 + 0.85 * np.clip(toward, 0, 1)
    tin = 0.30 + 0.42 * np.clip(upward, 0, 1) + 0.55 * lamp * lamp
    metal = look[..., METAL]
    gloss = (0.07 * lamp**4 + 0.035 * lamp) * (1 - metal)  # epoxy is a little glossy
    reflected = look[..., :3] * (epoxy + metal * (tin - epoxy))[..., None]
    reflected += gloss[..., None]
    return np.asarray(reflected, np.float32)


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
    scene *= (falloff * exposure * 255)[..., None] * np.array(light.tint, np.float32)
    noise = rng.standard_normal(scene.shape, np.float32)
    noise *= np.sqrt(np.maximum(scene, 0) * 0.045 + 2.0)
    scene += noise
    return np.clip(scene, 0, 255).astype(np.uint8)
