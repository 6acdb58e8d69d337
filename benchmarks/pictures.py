"""Rendered chips to measure with, so that a benchmark needs no folder of pictures."""

from pathlib import Path

import cv2
import numpy as np

from services.cli.demo.render import DEFAULT_SIZE, render_chip
from shared.vision.picture import Picture

PRODUCT = "soic-8"


def chip(seed: int, side: int) -> Picture:
    """A good chip, uint8 RGB (side, side, 3)."""
    return render_chip(np.random.default_rng(seed), PRODUCT, size=side).picture


def write_chips(folder: Path, count: int) -> Path:
    """Good chips of `DEFAULT_SIZE` as JPEG files in a folder."""
    folder.mkdir(parents=True)
    for seed in range(count):
        cv2.imwrite(str(folder / f"{seed:04}.jpg"), chip(seed, DEFAULT_SIZE)[:, :, ::-1])
    return folder
