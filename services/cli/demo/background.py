"""What chips lie on: a conveyor belt or a pocket tray; and the grain of moulded plastic."""

from functools import lru_cache

import cv2
import numpy as np

from services.cli.demo.products import Background
from services.cli.demo.surface import Plane

_SPARE = 160  # pixels a backdrop is larger than a picture, to be cut from at a random place


def backdrop(rng: np.random.Generator, kind: Background, size: int) -> Plane:
    """A fresh float32 (size, size, 3) background in 0..1."""
    if kind == "belt":
        top, left = rng.integers(0, _SPARE, 2)
        return _belt(size)[top : top + size, left : left + size].copy()
    spare = round(size * 0.04)
    top, left = rng.integers(0, spare + 1, 2)  # the tray is indexed under the camera, not perfectly
    return _tray(size, spare)[top : top + size, left : left + size].copy()


def grain_tile(rng: np.random.Generator, size: int) -> Plane:
    """Tilt of a rough surface along x and y, float32 (2, size, size), about unit variance."""
    top, left = rng.integers(0, _SPARE, 2)
    return _grain(size)[:, top : top + size, left : left + size]


def noise_tile(rng: np.random.Generator, size: int) -> Plane:
    """Sensor noise of unit variance, float32 (size, size, 3), cut from a store; drawing it costs half a picture."""
    top, left = rng.integers(0, _SPARE, 2)
    return _noise(size)[top : top + size, left : left + size]


@lru_cache(maxsize=4)
def _grain(size: int) -> Plane:
    side = size + _SPARE
    noise = np.random.default_rng(1).standard_normal((side, side, 2), np.float32)
    fine = cv2.GaussianBlur(noise, (0, 0), 0.6)
    coarse = cv2.GaussianBlur(noise, (0, 0), 1.5)
    grain = fine / fine.std() + 0.3 * coarse / coarse.std()
    return np.ascontiguousarray(grain.transpose(2, 0, 1), np.float32)


@lru_cache(maxsize=4)
def _noise(size: int) -> Plane:
    side = size + _SPARE
    return np.random.default_rng(4).standard_normal((side, side, 3), np.float32)


@lru_cache(maxsize=4)
def _belt(size: int) -> Plane:
    """A green antistatic belt: woven, a little worn along its way."""
    side = size + _SPARE
    rng = np.random.default_rng(2)
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) * (320 / size)
    weave = np.sin((x + y) * 1.05) * np.sin((x - y) * 1.05)
    wear = cv2.GaussianBlur(rng.standard_normal((side, side), np.float32), (0, 0), sigmaX=26, sigmaY=1.2)
    cloud = cv2.GaussianBlur(rng.standard_normal((side, side), np.float32), (0, 0), 30)
    speck = cv2.GaussianBlur(rng.standard_normal((side, side), np.float32), (0, 0), 0.8)
    tone = 1 + 0.07 * weave + 0.05 * wear / wear.std() + 0.05 * cloud / cloud.std() + 0.04 * speck / speck.std()
    return np.asarray(tone[..., None] * np.array([0.225, 0.36, 0.315], np.float32), np.float32)


@lru_cache(maxsize=4)
def _tray(size: int, spare: int) -> Plane:
    """A grey tray: the chip's pocket with slanted walls, posts at its corners, ribs toward the next pockets."""
    side = size + spare
    rng = np.random.default_rng(3)
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    x, y = (x - side / 2) / (size / 2), (y - side / 2) / (size / 2)
    reach = np.maximum(np.abs(x), np.abs(y))
    pocket = np.clip((reach - 0.90) / 0.05, 0, 1)  # 0 in the pocket, 1 on the rim
    depth = pocket
    middle = (np.abs(x) < 0.16) | (np.abs(y) < 0.16)
    depth = np.where(middle & (reach > 0.9), np.clip((reach - 0.97) / 0.03, 0, 1) * 0.5, depth).astype(np.float32)
    seat = np.clip((0.50 - reach) / 0.03, 0, 1) * 0.25  # the raised island under the body
    depth = cv2.GaussianBlur(depth + seat, (0, 0), 1.2)
    slope_x = cv2.Sobel(depth, cv2.CV_32F, 1, 0, ksize=3, scale=0.25)
    slope_y = cv2.Sobel(depth, cv2.CV_32F, 0, 1, ksize=3, scale=0.25)
    lit = 0.55 * slope_x + 0.8 * slope_y  # light from the upper left brightens slopes that rise toward the lower right
    grain = cv2.GaussianBlur(rng.standard_normal((side, side), np.float32), (0, 0), 0.9)
    tone = 0.86 + 0.14 * depth + 1.6 * lit + 0.035 * grain / grain.std()
    return np.asarray(np.clip(tone, 0.2, 2)[..., None] * np.array([0.37, 0.385, 0.41], np.float32), np.float32)
