from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from services.trainer.doubts.blank_frames import has_blanks, passing_blanks
from services.trainer.material.picture_features import look_at_all
from services.trainer.material.pictures import find_pictures
from services.trainer.progress import silent
from services.trainer.train import train
from shared.bank.bundle_folder import read_bundle
from shared.vision.bank import Bank
from tests.unit.trainer.conftest import RECIPE, ColourEngine, draw


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    for seed in range(12):
        draw(tmp_path / "normal" / f"{seed}.png", seed)
    train(product="plate", normal=tmp_path / "normal", out=tmp_path / "bundle", recipe=RECIPE)
    return read_bundle(tmp_path / "bundle").bank


def told(bank: Bank, normal: Path) -> list[str]:
    normals = look_at_all("", find_pictures(normal), bank.recipe, ColourEngine(), silent)
    return passing_blanks(bank, ColourEngine(), normals)


def test_frames_that_are_rejected_need_no_warning(bank: Bank, tmp_path: Path) -> None:
    assert told(bank, tmp_path / "normal") == []


def test_each_that_would_pass_is_named_with_what_would_go_unseen(bank: Bank, tmp_path: Path) -> None:
    assert told(replace(bank, threshold=1e9), tmp_path / "normal") == [
        "an all-black frame would pass: a failed lamp or a closed shutter goes unseen",
        "a mid-grey frame would pass: a veiled lens goes unseen",
        "an all-white frame would pass: a blinded camera goes unseen",
    ]


def test_where_good_pictures_are_blank_themselves_there_is_no_warning(bank: Bank, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "normal" / "empty-belt.png"), np.full((96, 128, 3), (90, 40, 60), np.uint8))
    assert told(replace(bank, threshold=1e9), tmp_path / "normal") == []


def test_a_small_part_before_a_plain_background_is_no_blank_picture(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).normal(20, 2, (600, 800)).clip(0, 255).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "empty.png"), picture)
    assert has_blanks(find_pictures(tmp_path))
    picture[300:316, 400:422] = 80
    cv2.imwrite(str(tmp_path / "empty.png"), picture)
    assert not has_blanks(find_pictures(tmp_path))
