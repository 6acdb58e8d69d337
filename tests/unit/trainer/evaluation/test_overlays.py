import base64

import cv2
import numpy as np

from services.trainer.evaluation.overlays import overlaid
from shared.vision.inspection import Inspection
from shared.vision.picture import Picture

SIDE = 1400


def marked(truth: np.ndarray) -> Picture:
    nothing = Inspection(
        score=0.0, rejected=False, defect_kind=None, anomaly_map=np.zeros((8, 8), np.float32), mask=None, regions=()
    )
    uri = overlaid(np.zeros((SIDE, SIDE, 3), np.uint8), nothing, truth, threshold=1.0, highest=2.0)
    encoded = np.frombuffer(base64.b64decode(uri.partition(",")[2]), np.uint8)
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB))


def test_a_defect_smaller_than_a_pixel_of_the_page_is_outlined_all_the_same() -> None:
    truth = np.zeros((SIDE, SIDE), np.bool_)
    truth[703:706, 353:356] = True
    green = np.argwhere(marked(truth)[..., 1] > 80)
    assert len(green)
    assert np.abs(green.mean(axis=0) - (140.5, 70.5)).max() < 2  # where it lies, at a fifth of the size


def test_where_nothing_is_defective_nothing_is_outlined() -> None:
    assert marked(np.zeros((SIDE, SIDE), np.bool_))[..., 1].max() < 80
