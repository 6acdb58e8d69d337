"""Pictures that no camera should send, and what becomes of them."""

import io

import numpy as np
from PIL import Image

from shared.events import UninspectedReason

UNDECODABLE = UninspectedReason.UNDECODABLE_IMAGE
UNSUPPORTED = UninspectedReason.UNSUPPORTED_IMAGE
TOO_LARGE = UninspectedReason.IMAGE_TOO_LARGE


def encoded(image: Image.Image, image_format: str, **options: object) -> bytes:
    """The picture as the bytes of a file."""
    out = io.BytesIO()
    image.save(out, image_format, **options)
    return out.getvalue()


def noise(mode: str = "RGB", side: int = 64) -> Image.Image:
    """A picture that compresses badly, so that cutting it off cuts pixels off."""
    rgb = np.random.default_rng(7).integers(0, 256, (side, side, 3), np.uint8)
    return Image.fromarray(rgb).convert(mode)


def bad_pictures() -> dict[str, tuple[bytes, UninspectedReason]]:
    """Every kind of bad picture by name, with the reason it must be given."""
    jpeg = encoded(noise(), "JPEG")
    png = encoded(noise(), "PNG")
    frames = [noise("L").rotate(angle) for angle in (0, 90)]
    return {
        "empty": (b"", UNDECODABLE),
        "text": (b"This is not a picture.\n" * 20, UNDECODABLE),
        "truncated JPEG": (jpeg[: len(jpeg) * 2 // 3], UNDECODABLE),
        "truncated PNG": (png[: len(png) * 2 // 3], UNDECODABLE),
        "1x1": (encoded(noise(side=1), "PNG"), UNSUPPORTED),
        "60 megapixels": (encoded(Image.new("L", (10_000, 6_000)), "PNG"), TOO_LARGE),
        "16-bit grey": (encoded(Image.fromarray(np.full((64, 64), 40_000, np.uint16)), "PNG"), UNSUPPORTED),
        "RGBA": (encoded(noise("RGBA"), "PNG"), UNSUPPORTED),
        "CMYK": (encoded(noise("CMYK"), "JPEG"), UNSUPPORTED),
        "animated GIF": (encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), UNSUPPORTED),
    }
