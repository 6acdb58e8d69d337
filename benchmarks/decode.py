"""From encoded bytes to the backbone's pixels: formats, sizes, and JPEG decoded at a reduced scale."""

from functools import partial
from typing import Any

import cv2
import numpy as np

from benchmarks.pictures import chip
from benchmarks.table import Table, command, fastest
from shared.vision.picture import Picture, decode, resize

SIDES = (256, 640, 1280, 2560)
SIZE = 256
ROUNDS = 6
REDUCED = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}


def measure() -> Table:
    """Milliseconds a picture of decoding and resizing, by format and side."""
    rows: list[dict[str, Any]] = []
    for side in SIDES:
        picture = chip(0, side)
        encoded = {
            name: cv2.imencode(suffix, picture[:, :, ::-1])[1].tobytes()
            for name, suffix in (("JPEG", ".jpg"), ("PNG", ".png"))
        }
        calls = {name: partial(_whole, data) for name, data in encoded.items()}
        scale = max((factor for factor in REDUCED if side / factor >= 2 * SIZE), default=None)
        if scale:
            calls[f"JPEG at 1/{scale}"] = partial(_reduced, encoded["JPEG"], scale)
        best = fastest(calls, rounds=ROUNDS)
        for name, seconds in best.items():
            rows.append({"side": side, "way": name, "ms": round(seconds * 1000, 2)})
        if scale:
            apart = np.abs(_whole(encoded["JPEG"]).astype(int) - _reduced(encoded["JPEG"], scale))
            rows[-1]["grey levels apart, mean"] = round(float(apart.mean()), 2)
    return Table(
        f"Decoding, and resizing to {SIZE} px, one thread",
        rows,
        ["JPEG at 1/n is decoded by the DCT's low frequencies to a side of at least twice what the backbone wants."],
    )


def _whole(data: bytes) -> Picture:
    return resize(decode(data), SIZE)


def _reduced(data: bytes, scale: int) -> Picture:
    reduced = cv2.imdecode(np.frombuffer(data, np.uint8), REDUCED[scale])
    return resize(np.asarray(reduced, np.uint8)[:, :, ::-1], SIZE)


if __name__ == "__main__":
    command(measure)
