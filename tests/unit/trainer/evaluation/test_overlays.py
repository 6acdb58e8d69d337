import base64

import cv2
import numpy as np

from services.trainer.evaluation.overlays import FOUND, TRUE, overlaid
from shared.vision.inspection import Inspection
from shared.vision.picture import Picture

SIDE = 1400
DEUTERANOPIA = np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]])
"""What of linear RGB reaches the commonest colour-blind eye (Machado et al. 2009)."""
TOLD_APART = 40  # in CIE Lab, without lightness, which thin lines on a picture do not show


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
    cyan = np.argwhere(marked(truth)[..., 1] > 80)
    assert len(cyan)
    assert np.abs(cyan.mean(axis=0) - (140.5, 70.5)).max() < 2  # where it lies, at a fifth of the size


def test_where_nothing_is_defective_nothing_is_outlined() -> None:
    assert marked(np.zeros((SIDE, SIDE), np.bool_))[..., 1].max() < 80


def test_a_colour_blind_eye_tells_what_was_found_from_what_is_defective() -> None:
    linear = np.array([FOUND, TRUE]) / 255
    seen = np.clip(linear**2.2 @ DEUTERANOPIA.T, 0, 1) ** (1 / 2.2)
    lab = cv2.cvtColor(seen.astype(np.float32)[None], cv2.COLOR_RGB2LAB)[0]
    assert np.linalg.norm(lab[0, 1:] - lab[1, 1:]) > TOLD_APART
