from pathlib import Path

import cv2
import numpy as np

from services.trainer.known_defects.places import DEFECTIVE, SOUND, UNTOLD, known_places


def mask(path: Path, *, height: int, width: int, top: int = 0, left: int = 0, size: int = 0) -> Path:
    pixels = np.zeros((height, width), np.uint8)
    pixels[top : top + size, left : left + size] = 255
    cv2.imwrite(str(path), pixels)
    return path


def test_a_patch_is_defective_where_a_pixel_of_it_or_of_one_beside_it_is(tmp_path: Path) -> None:
    drawn = mask(tmp_path / "m.png", height=160, width=80, top=79, left=70, size=2)  # over the edge of two patches
    normal, places = known_places(1, [drawn], [(160, 80)], 8)
    assert (normal == SOUND).all()
    expected = np.full((8, 8), SOUND)
    expected[2:6, 6:] = DEFECTIVE
    np.testing.assert_array_equal(places, expected)


def test_a_mask_of_another_size_covers_the_same_part_of_the_picture(tmp_path: Path) -> None:
    drawn = mask(tmp_path / "m.png", height=40, width=40, top=30, left=0, size=10)
    (places,) = known_places(0, [drawn], [(160, 320)], 4)
    assert (places[2:, :2] == DEFECTIVE).all()
    assert (places == DEFECTIVE).sum() == 4


def test_a_picture_without_a_mask_or_with_a_black_one_does_not_tell(tmp_path: Path) -> None:
    black = mask(tmp_path / "m.png", height=40, width=40)
    places = known_places(0, [None, black], [(40, 40)] * 2, 4)
    assert (places == UNTOLD).all()
