"""A bundle of plates with known defects, and pictures to add to it."""

import shutil
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


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test leaves pictures and bundle for all others: made here, they would lack its engine."""
    return tmp_path_factory.mktemp("shelf") / "trained"


@pytest.fixture
def folder(shelf: Path, tmp_path: Path) -> Path:
    if not shelf.exists():
        _train(shelf)
    return shutil.copytree(shelf, tmp_path, dirs_exist_ok=True)


def _train(folder: Path) -> None:
    for seed in range(40):
        draw(folder / "normal" / f"{seed:02}.png", seed)
    for index, spot in enumerate(SPOTS):
        draw(folder / "abnormal" / "blot" / f"{index}.png", 2000 + index, defect=spot)
    for seed in range(8):
        stamp(folder / "stamped" / f"{seed}.png", 3000 + seed)
        stamp(folder / "later" / f"{seed}.png", 4000 + seed)
    train(
        product="plate",
        normal=folder / "normal",
        abnormal=folder / "abnormal",
        out=folder / "bundle",
        recipe=RECIPE,
    )


def rejected(bundle: Path, normal: Path, abnormal: Path | None = None) -> tuple[float, float | None]:
    figures = evaluate(bundle=bundle, normal=normal, abnormal=abnormal)
    return figures["false_reject_rate"], figures["recall"]
