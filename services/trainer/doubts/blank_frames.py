"""Frames that show nothing: a failed lamp, a closed shutter or a blinded camera must not look like good parts."""

from collections.abc import Sequence
from statistics import median

import cv2
import numpy as np

from services.trainer.material.picture_features import Looked
from services.trainer.material.pictures import PictureFile
from shared.vision.bank import Bank
from shared.vision.engine import Engine
from shared.vision.errors import UnusableFeatures
from shared.vision.extraction import extract
from shared.vision.inspection import inspect
from shared.vision.picture import AsStored, Picture, decode_as_stored

FRAMES = {  # grey level, and what it would be on the line
    "an all-black": (0, "a failed lamp or a closed shutter"),
    "a mid-grey": (128, "a veiled lens"),
    "an all-white": (255, "a blinded camera"),
}
FLAT = 4.0  # grey levels: a picture whose pixels deviate less shows nothing but the sensor's noise, or a small part
CELL = 8  # pixels a side of what is averaged for noise to vanish and a small part to stay
STANDS_OUT = 12.0  # grey levels between a cell and the picture's mean: noise makes some 2 of so many, even shading 7


def passing_blanks(bank: Bank, engine: Engine, normals: Looked) -> list[str]:
    """A warning for each kind of blank frame that a bank would pass; none where blank pictures are among the normals.

    Args:
        bank: of the new bundle.
        engine: made for its recipe.
        normals: the good pictures that it was made from; frames are as large as most of them.
    """
    height, width = (round(median(side)) for side in zip(*normals.sizes, strict=True))
    passing = [
        name
        for name, (level, _) in FRAMES.items()
        if _passes(np.full((height, width, 3), level, np.uint8), bank, engine)
    ]
    if not passing or has_blanks(normals.files):
        return []
    return [f"{name} frame would pass: {FRAMES[name][1]} goes unseen" for name in passing]


def _passes(frame: Picture, bank: Bank, engine: Engine) -> bool:
    try:
        (inspection,) = inspect(extract([frame], bank.recipe, engine), [frame.shape[:2]], bank)
    except UnusableFeatures:  # the line rejects what it cannot inspect
        return False
    return not inspection.rejected


def has_blanks(files: Sequence[PictureFile]) -> bool:
    """Whether a picture among them shows nothing; pass only readable files."""
    return any(_is_blank(decode_as_stored(file.read())) for file in files)


def _is_blank(picture: AsStored) -> bool:
    if picture.std(axis=(0, 1)).max() >= FLAT:
        return False
    height, width = picture.shape[:2]
    cells = cv2.resize(picture, (width // CELL, height // CELL), interpolation=cv2.INTER_AREA)
    return bool(np.abs(cells - picture.mean(axis=(0, 1))).max() < STANDS_OUT)
