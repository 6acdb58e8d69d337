"""A sheet of rejected chips with what was found drawn in."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from shared.events import ChipInspected, Verdict
from shared.vision.mask import decode

TILE = 240  # pixels a side: two rows of four fit a README
CAPTION = 40
MARGIN = 8
PAPER, INK, FAINT = (250, 250, 250), (30, 30, 30), (110, 110, 110)
FOUND = (255, 40, 60)
BOX = (255, 210, 60)
FOUND_SHARE = 0.35  # of the colour laid over the anomalous pixels; what is below stays visible


@dataclass(frozen=True, slots=True)
class RejectedChip:
    """A reject, with the picture and the truth beside it."""

    picture: NDArray[np.uint8]
    """(H, W, 3) RGB."""
    inspection: ChipInspected
    truth: str
    """Kind of defect, or ``good``."""


def contact_sheet(rejects: Sequence[RejectedChip], columns: int = 4) -> NDArray[np.uint8]:
    """The chips in rows, (H, W, 3) RGB: anomalous pixels tinted and outlined, regions boxed, a caption below each."""
    rows = max(1, -(-len(rejects) // columns))
    width, height = columns * (TILE + MARGIN) + MARGIN, rows * (TILE + CAPTION + MARGIN) + MARGIN
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(14), ImageFont.load_default(12)
    for index, reject in enumerate(rejects):
        left = MARGIN + index % columns * (TILE + MARGIN)
        top = MARGIN + index // columns * (TILE + CAPTION + MARGIN)
        marked = cv2.resize(mark(reject.picture, reject.inspection), (TILE, TILE), interpolation=cv2.INTER_AREA)
        sheet.paste(Image.fromarray(marked), (left, top))
        first, second = _caption(reject)
        draw.text((left, top + TILE + 3), first, INK, large)
        draw.text((left, top + TILE + 21), second, FAINT, small)
    return np.asarray(sheet)


def mark(picture: NDArray[np.uint8], inspection: ChipInspected) -> NDArray[np.uint8]:
    """A copy of the picture with the anomalous pixels tinted and outlined, and a box around every region."""
    marked = picture.copy()
    if inspection.mask is None:
        return marked
    found = decode(inspection.mask).astype(np.bool_)
    marked[found] = ((1 - FOUND_SHARE) * marked[found] + FOUND_SHARE * np.array(FOUND)).astype(np.uint8)
    outlines, _ = cv2.findContours(found.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(marked, outlines, -1, FOUND, 2, cv2.LINE_AA)
    for region in inspection.regions:
        cv2.rectangle(marked, (region.x, region.y, region.width, region.height), BOX, 1)
    return marked


def _caption(reject: RejectedChip) -> tuple[str, str]:
    inspection = reject.inspection
    if inspection.verdict is Verdict.UNINSPECTED and inspection.uninspected:
        why = inspection.uninspected.reason.lower().replace("_", " ")
    else:
        why = f"score {inspection.score or 0:.1f}, threshold {inspection.threshold or 0:.1f}"
    return f"{inspection.line_id} {inspection.chip_id}: {reject.truth}", f"{inspection.verdict}, {why}"
