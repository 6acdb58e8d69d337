from datetime import UTC, datetime

import numpy as np

from services.cli.demo.contact_sheet import BOX, FOUND, TILE, RejectedChip, _caption, contact_sheet, mark
from shared.events import ChipInspected, Region, Verdict
from shared.vision.mask import encode

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
GREY = np.full((120, 160, 3), 128, np.uint8)


def inspection(*, found: bool) -> ChipInspected:
    pixels = np.zeros((120, 160), np.uint8)
    pixels[30:60, 40:80] = 1
    return ChipInspected(
        event_id="e",
        chip_id="c-1",
        line_id="line-1",
        product="soic-8",
        captured_at=NOON,
        verdict=Verdict.REJECT,
        score=4.2,
        threshold=1.0,
        mask=encode(pixels) if found else None,
        regions=(Region(x=40, y=30, width=40, height=30, area=1200, peak=3.0),) if found else (),
        inspected_at=NOON,
    )


def test_what_was_found_is_tinted_and_the_rest_is_left_alone() -> None:
    marked = mark(GREY, inspection(found=True))
    assert marked[45, 60, 0] > marked[45, 60, 1]
    np.testing.assert_array_equal(marked[100:, 100:], GREY[100:, 100:])
    np.testing.assert_array_equal(GREY, np.full_like(GREY, 128))


def test_every_region_has_its_box() -> None:
    marked = mark(GREY, inspection(found=True))
    boxed = np.argwhere((marked == np.array(BOX)).all(axis=2))
    assert boxed.min(axis=0).tolist() == [30, 40]
    assert boxed.max(axis=0).tolist() == [59, 79]


def test_a_reject_without_a_mask_is_shown_as_it_is() -> None:
    np.testing.assert_array_equal(mark(GREY, inspection(found=False)), GREY)


def test_the_sheet_has_a_tile_and_a_caption_a_chip_in_rows() -> None:
    reject = RejectedChip(GREY, inspection(found=True), "crack")
    sheet = contact_sheet([reject] * 5, columns=2)
    assert sheet.shape[1] < 3 * TILE < sheet.shape[0]
    assert (sheet == np.array(FOUND)).all(axis=2).sum() > 5 * 50


def test_a_sheet_of_nothing_is_still_a_picture() -> None:
    assert contact_sheet([]).size > 0


def test_a_caption_says_threshold_as_everything_else_does() -> None:
    reject = RejectedChip(GREY, inspection(found=True), "crack")
    assert _caption(reject) == ("line-1 c-1: crack", "REJECT, score 4.2, threshold 1.0")
