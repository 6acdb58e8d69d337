"""A bundle of plates with known defects, and pictures to add to it."""

from pathlib import Path

import cv2
import pytest

from services.trainer.evaluation.evaluate import evaluate
from services.trainer.train import train
from tests.unit.trainer.conftest import RECIPE, draw

SPOTS = [(10, 20), (60, 90), (40, 50), (20, 60), (70, 30), (30, 100), (50, 10), (60, 60)]


def stamp(path: Path, seed: int) -> None:
    """A good plate with a green stamp, which the first normals did not have."""
    draw(path, seed)
    picture = cv2.imread(str(path))
    assert picture is not None
    picture[40:60, 40:70] = (60, 160, 60)
    cv2.imwrite(str(path), picture)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed in range(40):
        draw(tmp_path / "normal" / f"{seed:02}.png", seed)
    for index, spot in enumerate(SPOTS):
        draw(tmp_path / "abnormal" / "blot" / f"{index}.png", 2000 + index, defect=spot)
    for seed in range(8):
        stamp(tmp_path / "stamped" / f"{seed}.png", 3000 + seed)
        stamp(tmp_path / "later" / f"{seed}.png", 4000 + seed)
    train(
        product="plate",
        normal=tmp_path / "normal",
        abnormal=tmp_path / "abnormal",
        out=tmp_path / "bundle",
        recipe=RECIPE,
    )
    return tmp_path


def rejected(bundle: Path, normal: Path, abnormal: Path | None = None) -> tuple[float, float | None]:
    figures = evaluate(bundle=bundle, normal=normal, abnormal=abnormal)
    return figures["false_reject_rate"], figures["recall"]
