from pathlib import Path

import numpy as np
from PIL import Image

from services.trainer.material.masks import Mask, Masks
from services.trainer.material.pictures import find_pictures


def test_only_a_mask_without_any_label_is_empty(tmp_path: Path) -> None:
    for folder in ("abnormal", "masks"):
        (tmp_path / folder).mkdir()
    for name, label in (("blank.png", 0), ("labelled.png", 1), ("otherwise.png", 300)):
        Image.new("RGB", (12, 8)).save(tmp_path / "abnormal" / name)
        labels = np.zeros((8, 12), np.uint16)
        labels[2, 3] = label
        Image.fromarray(labels).save(tmp_path / "masks" / name)
    masks = Masks.find(tmp_path / "masks", find_pictures(tmp_path / "abnormal"))
    assert masks.of_picture == {
        "blank.png": Mask(tmp_path / "masks" / "blank.png", 8, 12, is_empty=True),
        "labelled.png": Mask(tmp_path / "masks" / "labelled.png", 8, 12, is_empty=False),
        "otherwise.png": Mask(tmp_path / "masks" / "otherwise.png", 8, 12, is_empty=False),
    }
    assert masks.telling == 2
