"""Encoded bytes to pixels, refusing whatever could not be inspected honestly.

Accepted: JPEG, PNG, BMP, TIFF and WebP, still, opaque, 8 bits a channel, grey or RGB. A palette picture without
transparency is accepted too, since it expands to RGB without loss and many cameras store grey BMP that way.

Everything that can be told from the header is told by `probe`, before a pixel is decoded: a bomb costs nothing.
The orientation tag of EXIF is ignored, so that masks lie on the pixels as the camera stored them. But a TIFF is
turned: there the tag is the format's own and says in which order rows and columns are stored; decoders always heed it.
"""

import io
import re
import struct
import warnings
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from shared.vision.errors import ImageTooLarge, PictureError, UndecodableImage, UnsupportedImage

Picture: TypeAlias = NDArray[np.uint8]
"""RGB pixels, (height, width, 3)."""

AsStored: TypeAlias = NDArray[np.uint8]
"""Pixels of one grey channel, (height, width), or RGB, (height, width, 3)."""

DEFAULT_MAX_PIXELS = 40_000_000  # a 7,300 x 5,400 camera; decoded it takes 120 MB
MIN_SIDE = 16  # pixels; below it a picture shows nothing, whatever it is enlarged to

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
# Recognised only to be refused by name.
REFUSED_FORMATS = ("GIF",)

_JPEG_STANDALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length: TEM, RST0 to RST7, SOI
_JPEG_START_OF_SCAN = 0xDA
_JPEG_END_OF_IMAGE = b"\xff\xd9"
_PNG_SIGNATURE_LENGTH = 8

# What is wrong with a picture is said by our errors; the decoders' own lines on standard error name no picture.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
warnings.filterwarnings("ignore", module=r"PIL\.")


@dataclass(frozen=True, slots=True)
class Header:
    """What a picture's header says of it; sizes in pixels."""

    width: int
    height: int
    format: str
    is_grey: bool
    """One channel of brightness; told of JPEG and PNG alone, since in other formats that may be a palette of greys."""


def probe(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Header:
    """The header of an encoded picture that may be decoded.

    Raises:
        UndecodableImage: empty, or no picture of a known format.
        ImageTooLarge: more than ``max_pixels`` pixels.
        UnsupportedImage: smaller than 16 pixels a side, animated, transparent, not 8 bits a channel, not grey or RGB.
    """
    if not data:
        raise UndecodableImage("the image is empty (0 bytes); send the encoded picture")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS + REFUSED_FORMATS) as image:
            return _accept(image, max_pixels)
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise UndecodableImage(
            f"no picture in {len(data)} bytes that begin with {data[:8]!r}; send {', '.join(FORMATS)}"
        ) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as bomb:
        claim = "".join(re.findall(r"\((\d+) pixels\)", str(bomb))[:1]) or "far more"
        raise ImageTooLarge(
            f"the header claims {claim} pixels, the limit is {max_pixels}: send a smaller picture"
        ) from None
    except Exception as damage:  # Pillow's parsers raise whatever a damaged header leads them to
        raise UndecodableImage(f"the picture's header is damaged ({damage}); capture it again") from None


def decode(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """The picture's pixels, uint8 RGB (height, width, 3).

    Thread-safe; the interpreter lock is released while pixels are decoded.

    Raises:
        PictureError: as `probe`, and UndecodableImage where the pixels are truncated or damaged.
    """
    return _rgb(decode_as_stored(data, max_pixels=max_pixels))


def decode_as_stored(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> AsStored:
    """As `decode`, a grey picture in one channel: to resize it so costs half as much, and gives the same."""
    header = probe(data, max_pixels=max_pixels)
    if not _is_whole(data, header.format):
        raise UndecodableImage(
            f"the {header.format} of {header.width}x{header.height} ends early, after {len(data)} bytes; "
            "capture or send it again"
        )
    channels = cv2.IMREAD_GRAYSCALE if header.is_grey else cv2.IMREAD_COLOR_RGB
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), channels | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise _damaged(header, error.err) from None
    expected = (header.height, header.width) if header.is_grey else (header.height, header.width, 3)
    if picture is None or picture.shape != expected:
        raise _damaged(header, "the decoder gave up" if picture is None else f"decoded to {picture.shape}")
    return picture  # type: ignore[no-any-return]  # OpenCV is not typed


def resize(picture: AsStored, size: int) -> Picture:
    """The picture as a square of ``size`` pixels, uint8 RGB (size, size, 3); the aspect is not kept.

    By area averaging, which loses no thin scratch to aliasing when a large picture shrinks.
    """
    if picture.shape[:2] != (size, size):
        picture = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    return _rgb(picture)


def _rgb(picture: AsStored) -> Picture:
    return cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB) if picture.ndim == 2 else picture


def _damaged(header: Header, detail: str) -> UndecodableImage:
    return UndecodableImage(
        f"the {header.format} of {header.width}x{header.height} is damaged ({detail}); capture or send it again"
    )


def _accept(image: Image.Image, max_pixels: int) -> Header:
    """The header of an opened picture, or the reason why it is refused."""
    width, height = image.size
    kind = f"{image.format} of {width}x{height}"
    if image.format not in FORMATS:
        raise UnsupportedImage(f"a {kind} is not inspected; send {', '.join(FORMATS)}")
    if width * height > max_pixels:
        raise ImageTooLarge(
            f"a {kind} has {width * height} pixels, more than the limit of {max_pixels}; send a smaller picture"
        )
    if min(width, height) < MIN_SIDE:
        raise UnsupportedImage(f"a {kind} is smaller than {MIN_SIDE} pixels a side; send the whole picture")
    if (frames := getattr(image, "n_frames", 1)) > 1:
        raise UnsupportedImage(f"a {kind} with {frames} frames is not inspected; send a single still")
    if image.mode not in {"L", "RGB", "P"}:
        raise UnsupportedImage(f"a {kind} with pixels of type {image.mode} is not inspected; send 8-bit grey or RGB")
    if "transparency" in image.info:
        raise UnsupportedImage(f"a {kind} with transparent pixels is not inspected; send 8-bit grey or RGB")
    if _bits(image) != 8:
        raise UnsupportedImage(f"a {kind} with {_bits(image)} bits a channel is not inspected; send 8 bits")
    return Header(width, height, image.format, is_grey=image.mode == "L" and image.format in {"JPEG", "PNG"})


def _bits(image: Image.Image) -> int:
    """Bits a channel as stored: Pillow opens 16-bit RGB as plain ``RGB`` and tells only in the raw mode."""
    for tile in image.tile if isinstance(image, ImageFile.ImageFile) else ():
        raw_mode = tile.args if isinstance(tile.args, str) else (tile.args or ("",))[0]
        if isinstance(raw_mode, str) and ";16" in raw_mode:
            return 16
    return 8


def _is_whole(data: bytes, image_format: str) -> bool:
    """Whether the file reaches its end; decoders fill what a truncated JPEG or PNG lacks with grey and say nothing."""
    if image_format == "JPEG":
        return _is_whole_jpeg(data)
    if image_format == "PNG":
        return _is_whole_png(data)
    return True  # the decoders of the other formats refuse short files by themselves


def _is_whole_jpeg(data: bytes) -> bool:
    """Whether an end of image follows the first scan (ITU-T T.81, annex B); a thumbnail's own lies before it."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == _JPEG_START_OF_SCAN:
            return data.find(_JPEG_END_OF_IMAGE, position) >= 0
        standalone = marker in _JPEG_STANDALONE or marker == 0xFF  # 0xFF: padding before a marker
        position += (
            (1 if marker == 0xFF else 2) if standalone else 2 + int.from_bytes(data[position + 2 : position + 4])
        )
    return False


def _is_whole_png(data: bytes) -> bool:
    """Whether the chunks lead to an IEND within the data."""
    position: int = _PNG_SIGNATURE_LENGTH
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        position += 12 + length  # length, type, payload, checksum
        if kind == b"IEND":
            return bool(position <= len(data))
    return False
