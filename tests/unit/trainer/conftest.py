"""Pictures on disk, and an engine that needs no network of neurons to see that one differs from the others."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from shared.vision.recipe import Layer, Recipe

RECIPE = Recipe(layers=(Layer(tap="colour", input_size=64, pool=1, top_fraction=0.05),))
GRID = 8


class ColourEngine:
    """Features are a patch's mean colours and the spread of its pixels."""

    def features(self, pictures: NDArray[np.uint8], input_size: int) -> dict[str, NDArray[np.float32]]:
        side = input_size // GRID
        cells = pictures.astype(np.float32).reshape(-1, GRID, side, GRID, side, 3)
        means, spreads = cells.mean(axis=(2, 4)), cells.std(axis=(2, 4))
        return {RECIPE.layers[0].name: np.concatenate([means, 3 * spreads], axis=3)}


@pytest.fixture(autouse=True)
def colour_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("train", "normality.learning", "evaluation.evaluate", "update"):
        monkeypatch.setattr(f"services.trainer.{module}.load_engine", lambda kind, recipe, graphs=None: ColourEngine())
    for module in ("train", "evaluation.evaluate", "update"):
        monkeypatch.setattr(f"services.trainer.{module}.backbone_weights_sha256", lambda name: "0" * 64)


@pytest.fixture(autouse=True)
def short_lessons(monkeypatch: pytest.MonkeyPatch) -> None:
    """Colours are learnt in no time."""
    monkeypatch.setattr("services.trainer.normality.patch_teaching.MOST_STEPS", 150)
    monkeypatch.setattr("services.trainer.known_defects.patch_lessons.FEWEST_STEPS", 100)


@pytest.fixture(autouse=True)
def no_turned_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take time, and are tested by themselves."""
    monkeypatch.setattr("services.trainer.normality.turned_normals.FEW", 0)


def draw(path: Path, seed: int, *, defect: tuple[int, int] | None = None) -> None:
    """A grey plate of 96 x 128 pixels; `defect` is the top left corner of a red blot of 20 pixels."""
    random = np.random.default_rng(seed)
    plate = np.clip(random.normal(120, 6, (96, 128, 3)) + random.normal(0, 4), 0, 255).astype(np.uint8)
    if defect is not None:
        top, left = defect
        plate[top : top + 20, left : left + 20] = (20, 20, 220)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), plate)


def draw_mask(path: Path, defect: tuple[int, int]) -> None:
    """The mask of such a blot."""
    mask = np.zeros((96, 128), np.uint8)
    top, left = defect
    mask[top : top + 20, left : left + 20] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), mask)
