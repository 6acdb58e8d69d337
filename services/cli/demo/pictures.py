"""Rendered chips as encoded pictures: folders to learn from and to be tested on, and an endless belt to inspect."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from services.cli.demo.render import Defect, render_chip

JPEG_QUALITY = 95  # as line cameras store: 4:2:0 and barely visible blocks
DEFECT_SHARE = 0.08  # far above a healthy line's, so that a short demo has something to show


@dataclass(frozen=True, slots=True)
class BeltChip:
    """A chip on the belt."""

    chip_id: str
    data: bytes
    """JPEG."""
    defect: Defect | None


def write_normals(folder: Path, product: str, count: int, seed: int) -> None:
    """Write pictures of good chips, the same for the same seed."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        picture = render_chip(np.random.default_rng([seed, number]), product).picture
        (folder / f"{number:04}.jpg").write_bytes(encode(picture))


def write_test_set(folder: Path, product: str, *, normals: int, of_each_kind: int, seed: int) -> None:
    """Write `normal/`, `abnormal/<kind>/` and `masks/<kind>/`, as `chipsieve evaluate` reads them.

    Pictures are JPEG, masks PNG of the same stem: 255 on the defect, 0 elsewhere. The same seed gives the same files.
    """
    write_normals(folder / "normal", product, normals, seed)
    for kind, defect in enumerate(Defect):
        pictures, masks = folder / "abnormal" / defect, folder / "masks" / defect
        pictures.mkdir(parents=True, exist_ok=True)
        masks.mkdir(parents=True, exist_ok=True)
        for number in range(of_each_kind):
            chip = render_chip(np.random.default_rng([seed, 1 + kind, number]), product, defect)
            (pictures / f"{number:04}.jpg").write_bytes(encode(chip.picture))
            cv2.imwrite(str(masks / f"{number:04}.png"), chip.mask.astype(np.uint8) * 255)


def belt(product: str, seed: int) -> Iterator[BeltChip]:
    """Chips without end, the same for the same seed; one in twelve or so has a defect of any kind."""
    kinds = list(Defect)
    for number in itertools.count():
        rng = np.random.default_rng([seed, number])
        defect = kinds[int(rng.integers(len(kinds)))] if rng.random() < DEFECT_SHARE else None
        picture = render_chip(rng, product, defect).picture
        yield BeltChip(f"{product}-{number:05}", encode(picture), defect)


def encode(picture: NDArray[np.uint8]) -> bytes:
    """An RGB picture (H, W, 3) as JPEG."""
    _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return data.tobytes()
