"""Pictures with their anomaly map and masks laid over, as data that an HTML page carries in itself."""

import base64

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.vision.anomaly_map import upsample
from shared.vision.inspection import Inspection
from shared.vision.mask import decode
from shared.vision.picture import Picture

SIDE = 280  # pixels of the longer side in the page
HOT_SHARE = 0.55  # of the map's colour where it is largest; what is below stays visible
FOUND, TRUE = (255, 40, 60), (0, 220, 255)
QUALITY = 82  # of the JPEG: about 15 KB a picture


def plain(picture: Picture) -> str:
    """The picture as a data URI."""
    return _data_uri(_fit(picture))


def overlaid(
    picture: Picture, inspection: Inspection, truth: NDArray[np.bool_] | None, threshold: float, highest: float
) -> str:
    """The picture with the anomaly map as heat, what was found outlined in red and what is defective in cyan.

    Args:
        picture: (H, W, 3) RGB.
        inspection: of the picture.
        truth: (H, W), where it is known.
        threshold: of the mask: heat begins well below it.
        highest: value of the map at full heat.
    """
    height, width = picture.shape[:2]
    pixels = upsample(inspection.anomaly_map, height, width)
    coldest = min(0.0, threshold)
    heat = np.clip((pixels - coldest) / max(highest - coldest, 1e-6), 0, 1)
    colours = cv2.cvtColor(cv2.applyColorMap((255 * heat).astype(np.uint8), cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    share = (HOT_SHARE * heat)[..., None]
    marked = _fit(((1 - share) * picture + share * colours).astype(np.uint8))
    if inspection.mask is not None:
        _outline(marked, decode(inspection.mask), FOUND)
    if truth is not None:
        _outline(marked, truth.astype(np.uint8), TRUE)
    return _data_uri(marked)


def _outline(marked: Picture, mask: NDArray[np.uint8], colour: tuple[int, int, int]) -> None:
    height, width = marked.shape[:2]
    # Any share of a pixel counts: rounded, a defect smaller than a pixel of the page would not be there.
    shrunk = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA) > 0
    contours, _ = cv2.findContours(shrunk.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(marked, contours, -1, colour, 2)


def _fit(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    scale = SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.ascontiguousarray(
        cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR), np.uint8
    )


def _data_uri(picture: Picture) -> str:
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")
