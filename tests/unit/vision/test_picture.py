import struct
import zlib
from contextlib import suppress

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from shared.events import UninspectedReason
from shared.vision.errors import ImageTooLarge, PictureError, UndecodableImage, UnsupportedImage
from shared.vision.picture import DEFAULT_MAX_PIXELS, Header, Picture, decode, decode_as_stored, probe, resize
from tests.unit.vision.rendered_pictures import encoded, ramp

PICTURE = ramp(64, 96)
LOSSLESS = {
    "PNG": encoded(PICTURE, "PNG"),
    "BMP": encoded(PICTURE, "BMP"),
    "TIFF": encoded(PICTURE, "TIFF"),
    "WEBP": encoded(PICTURE, "WEBP", lossless=True),
}
ENCODED = {
    "JPEG": encoded(PICTURE, "JPEG"),
    "progressive JPEG": encoded(PICTURE, "JPEG", progressive=True),
    "lossy WEBP": encoded(PICTURE, "WEBP"),
    "TIFF with LZW": encoded(PICTURE, "TIFF", compression="tiff_lzw"),
    **LOSSLESS,
}


def jpeg_with_thumbnail() -> bytes:
    """A JPEG whose Exif holds a whole JPEG, end of image and all."""
    thumbnail = encoded(ramp(16), "JPEG")
    segment = b"Exif\0\0" + thumbnail
    picture = ENCODED["JPEG"]
    return picture[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + picture[2:]


def png(*, bits: int, colour: int, rows: list[bytes]) -> bytes:
    """32 x 32 pixels, not filtered."""

    def chunk(kind: bytes, payload: bytes) -> bytes:
        return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))

    header = struct.pack(">IIBBBBB", 32, 32, bits, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def png_of_16_bit_rgb() -> bytes:
    return png(bits=16, colour=2, rows=[bytes(32 * 6)] * 32)


@pytest.mark.parametrize("image_format", LOSSLESS)
def test_a_lossless_picture_decodes_to_its_own_pixels_in_rgb(image_format: str) -> None:
    assert np.array_equal(decode(LOSSLESS[image_format]), PICTURE)


@pytest.mark.parametrize("data", [ENCODED["JPEG"], ENCODED["progressive JPEG"], ENCODED["lossy WEBP"]])
def test_a_lossy_picture_decodes_to_nearly_its_pixels(data: bytes) -> None:
    picture = decode(data)
    assert picture.dtype == np.uint8
    assert np.abs(picture.astype(int) - PICTURE).mean() < 4


def png_of_4_bit_grey() -> bytes:
    return png(bits=4, colour=0, rows=[bytes(range(0, 256, 16)) for _ in range(32)])


@pytest.mark.parametrize(
    "data",
    [
        *(encoded(PICTURE, image_format, "L") for image_format in ("JPEG", "PNG", "BMP", "TIFF")),
        encoded(PICTURE, "JPEG", "L", progressive=True),
        png_of_4_bit_grey(),
        ENCODED["JPEG"],
        LOSSLESS["PNG"],
    ],
    ids=["JPEG", "PNG", "BMP", "TIFF", "progressive JPEG", "PNG of 4 bits", "JPEG in colour", "PNG in colour"],
)
@pytest.mark.parametrize("size", [16, 32, 50, 200])
def test_a_picture_as_stored_has_the_pixels_that_it_has_in_rgb(data: bytes, size: int) -> None:
    assert np.array_equal(resize(decode_as_stored(data), size), resize(decode(data), size))
    rgb = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert np.array_equal(decode(data), rgb)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
def test_a_grey_picture_is_kept_in_one_channel(image_format: str) -> None:
    assert decode_as_stored(encoded(PICTURE, image_format, "L")).shape == (64, 96)


def test_a_grey_picture_decodes_to_three_equal_channels() -> None:
    grey = PICTURE[:, :, 0]
    assert np.array_equal(decode(encoded(grey, "PNG")), np.repeat(grey[:, :, None], 3, axis=2))


def test_a_palette_picture_without_transparency_decodes_to_its_colours() -> None:
    palette = Image.fromarray(PICTURE).quantize(64)
    assert np.array_equal(decode(encoded(palette, "PNG")), np.asarray(palette.convert("RGB")))


def test_the_orientation_tag_is_ignored_so_that_masks_lie_on_stored_pixels() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    assert decode(encoded(PICTURE, "JPEG", exif=exif)).shape == (64, 96, 3)


@pytest.mark.parametrize(("tag", "turned"), [(3, PICTURE[::-1, ::-1]), (6, np.rot90(PICTURE, -1))])
def test_a_tiff_lies_as_its_own_orientation_tag_says(tag: int, turned: Picture) -> None:
    exif = Image.Exif()
    exif[0x0112] = tag
    data = encoded(PICTURE, "TIFF", exif=exif)
    assert np.array_equal(decode(data), turned)
    assert (probe(data).height, probe(data).width) == turned.shape[:2]


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "BMP", "TIFF", "WEBP"])
def test_the_header_tells_size_and_format(image_format: str) -> None:
    assert probe(ENCODED[image_format]) == Header(width=96, height=64, format=image_format, is_grey=False)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b"", UndecodableImage, "empty"),
        (b"not a picture", UndecodableImage, "no picture in 13 bytes"),
        (b"\x89PNG\r\n\x1a\n", UndecodableImage, "no picture"),
        (encoded(ramp(64)[:1, :1], "PNG"), UnsupportedImage, "1x1 is smaller than 16 pixels"),
        (encoded(ramp(15, 64), "PNG"), UnsupportedImage, "64x15 is smaller than 16 pixels"),
        (encoded(np.zeros((32, 32), np.uint16), "PNG"), UnsupportedImage, "I;16"),
        (encoded(np.zeros((32, 32), np.uint16), "TIFF"), UnsupportedImage, "I;16"),
        (png_of_16_bit_rgb(), UnsupportedImage, "16 bits a channel"),
        (encoded(PICTURE, "PNG", "RGBA"), UnsupportedImage, "RGBA"),
        (encoded(PICTURE, "PNG", "LA"), UnsupportedImage, "LA"),
        (encoded(PICTURE, "PNG", "1"), UnsupportedImage, "type 1"),
        (encoded(PICTURE, "PNG", transparency=(0, 0, 0)), UnsupportedImage, "transparent"),
        (encoded(PICTURE, "PNG", "P", transparency=0), UnsupportedImage, "transparent"),
        (encoded(np.dstack([PICTURE, PICTURE[:, :, 0]]), "WEBP"), UnsupportedImage, "RGBA"),
        (encoded(PICTURE, "JPEG", "CMYK"), UnsupportedImage, "CMYK"),
        (encoded(PICTURE, "GIF"), UnsupportedImage, "GIF"),
        (
            encoded(PICTURE, "GIF", save_all=True, append_images=[Image.fromarray(255 - PICTURE)]),
            UnsupportedImage,
            "GIF",
        ),
        (
            encoded(PICTURE, "PNG", save_all=True, append_images=[Image.fromarray(255 - PICTURE)]),
            UnsupportedImage,
            "2 frames",
        ),
        (
            encoded(PICTURE, "TIFF", save_all=True, append_images=[Image.fromarray(255 - PICTURE)]),
            UnsupportedImage,
            "2 frames",
        ),
    ],
)
def test_a_picture_that_cannot_be_inspected_honestly_is_refused_by_its_header(
    data: bytes, error: type[PictureError], message: str
) -> None:
    with pytest.raises(error, match=message):
        probe(data)
    with pytest.raises(error, match=message):
        decode(data)


def test_each_refusal_carries_the_reason_that_the_verdict_will_give() -> None:
    assert UndecodableImage.reason is UninspectedReason.UNDECODABLE_IMAGE
    assert ImageTooLarge.reason is UninspectedReason.IMAGE_TOO_LARGE
    assert UnsupportedImage.reason is UninspectedReason.UNSUPPORTED_IMAGE


@pytest.mark.parametrize(("width", "height"), [(10_000, 6_000), (60_000, 60_000)])
def test_a_bomb_is_refused_by_its_header_without_its_pixels(width: int, height: int) -> None:
    bomb = bytearray(LOSSLESS["PNG"])  # its pixels stay those of a small picture
    bomb[16:24] = struct.pack(">II", width, height)
    bomb[29:33] = struct.pack(">I", zlib.crc32(bomb[12:29]))
    with pytest.raises(ImageTooLarge, match=str(DEFAULT_MAX_PIXELS)):
        decode(bytes(bomb))


def test_the_limit_of_pixels_can_be_set_and_is_named() -> None:
    assert decode(LOSSLESS["PNG"], max_pixels=64 * 96).shape == (64, 96, 3)
    with pytest.raises(ImageTooLarge, match="6144 pixels, more than the limit of 6143"):
        decode(LOSSLESS["PNG"], max_pixels=64 * 96 - 1)


@given(name=st.sampled_from(sorted(ENCODED)), share=st.floats(0, 1, exclude_max=True))
def test_a_picture_cut_short_anywhere_is_refused(name: str, share: float) -> None:
    data = ENCODED[name]
    with pytest.raises(PictureError):
        decode(data[: int(len(data) * share)])


def test_a_truncated_jpeg_is_refused_though_its_thumbnail_is_whole() -> None:
    data = jpeg_with_thumbnail()
    assert decode(data).shape == (64, 96, 3)
    with pytest.raises(UndecodableImage, match="ends early"):
        decode(data[:-40])


def test_bytes_after_the_end_of_a_jpeg_do_no_harm() -> None:
    assert np.array_equal(decode(ENCODED["JPEG"] + bytes(64)), decode(ENCODED["JPEG"]))


def test_a_png_with_a_damaged_pixel_is_refused() -> None:
    data = bytearray(LOSSLESS["PNG"])
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(UndecodableImage, match="damaged"):
        decode(bytes(data))


@given(
    name=st.sampled_from(sorted(ENCODED)),
    damage=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=5),
)
def test_damaged_bytes_give_a_picture_or_a_typed_refusal_and_nothing_else(
    name: str, damage: list[tuple[float, int]]
) -> None:
    data = bytearray(ENCODED[name])
    for place, value in damage:
        # Half of the damage goes to the header, where parsers are led astray.
        data[int(place * 2 % 1 * (min(200, len(data)) if place < 0.5 else len(data)))] = value
    with suppress(PictureError):
        assert decode(bytes(data)).dtype == np.uint8


@pytest.mark.parametrize("shape", [(64, 96), (512, 300), (128, 128)])
def test_resizing_gives_a_square_of_the_asked_size(shape: tuple[int, int]) -> None:
    assert resize(ramp(*shape), 128).shape == (128, 128, 3)


def test_shrinking_averages_so_that_a_thin_scratch_is_not_lost() -> None:
    board = np.zeros((256, 256, 3), np.uint8)
    board[:, 129] = 255
    assert resize(board, 64)[:, 32].min() == pytest.approx(64, abs=1)
