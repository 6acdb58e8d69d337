"""Pictures drawn by rule, the same on every machine, and their encodings."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def ramp(height: int, width: int | None = None) -> NDArray[np.uint8]:
    """Colours that change along both axes."""
    width = width or height
    y, x = np.mgrid[0:height, 0:width]
    return np.stack(
        [x * 255 // (width - 1), y * 255 // (height - 1), (x + y) * 255 // (width + height - 2)], -1
    ).astype(np.uint8)


def chip(size: int) -> NDArray[np.uint8]:
    """An IC package on a board: body, leads, pin-1 dot."""
    y, x = np.mgrid[0:size, 0:size]
    picture = np.full((size, size, 3), (40, 90, 60), np.uint8)
    across = np.abs(x - size // 2) < size * 5 // 16
    picture[across & (np.abs(y - size // 2) < size * 3 // 8) & (x % (size // 8) < size // 16)] = (200, 200, 190)
    picture[across & (np.abs(y - size // 2) < size // 4)] = (25, 25, 28)
    picture[(x - size // 4) ** 2 + (y - size * 5 // 8) ** 2 < (size // 28) ** 2] = (150, 150, 150)
    return picture


def encoded(picture: NDArray[Any] | Image.Image, image_format: str, mode: str | None = None, **options: Any) -> bytes:
    """A picture as bytes of a format."""
    image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    buffer = io.BytesIO()
    (image.convert(mode) if mode else image).save(buffer, image_format, **options)
    return buffer.getvalue()
