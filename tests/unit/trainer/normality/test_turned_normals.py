from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from services.trainer.material.picture_features import Looked, look_at_all
from services.trainer.material.pictures import find_pictures
from services.trainer.material.turned import TURN_NAMES
from services.trainer.normality.cross_fit import LayerPatches, split_into_folds
from services.trainer.normality.turned_normals import TurnedNormals, turned_normals
from services.trainer.progress import silent
from services.trainer.train import train
from shared.bank.bundle_folder import read_bundle
from shared.vision.memory_bank import LayerBank
from shared.vision.place_memory import PlaceMemory
from shared.vision.recipe import Recipe
from tests.unit.trainer.conftest import GRID, RECIPE, draw

(LAYER,) = RECIPE.layers
PICTURES, FEW = 12, 20


@pytest.fixture(autouse=True)
def turned_copies(monkeypatch: pytest.MonkeyPatch, no_turned_copies: None) -> None:
    monkeypatch.setattr("services.trainer.normality.turned_normals.FEW", FEW)


class SlopeEngine:
    """Features are how much brighter a patch is to the right and below, and a little of how bright it is."""

    def features(self, pictures: NDArray[np.uint8], input_size: int) -> dict[str, NDArray[np.float32]]:
        side = input_size // GRID
        cells = pictures.astype(np.float32).mean(axis=3).reshape(-1, GRID, side, GRID, side)
        half = side // 2
        rightwards = cells[..., half:].mean(axis=(2, 4)) - cells[..., :half].mean(axis=(2, 4))
        downwards = cells[:, :, half:].mean(axis=(2, 4)) - cells[:, :, :half].mean(axis=(2, 4))
        return {LAYER.name: np.stack([rightwards, downwards, cells.mean(axis=(2, 4)) / 50], axis=3)}


@pytest.fixture
def slope_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.trainer.train.load_engine", lambda kind, recipe, graphs=None: SlopeEngine())


def plates(folder: Path, *, slope: bool, count: int = PICTURES) -> Looked:
    """Grey plates of noise, each as bright as it happens to be; with a slope, every one is brighter to the right."""
    for seed in range(count):
        path = folder / f"{seed:03}.png"
        draw(path, seed)
        plate = cv2.imread(str(path)).astype(np.float32)
        if slope:
            plate += np.linspace(-80, 80, plate.shape[1])[None, :, None]
        cv2.imwrite(str(path), np.clip(plate, 0, 255).astype(np.uint8))
    return look_at_all("pictures", find_pictures(folder), RECIPE, SlopeEngine(), silent)


def copies_of(looked: Looked, recipe: Recipe = RECIPE) -> TurnedNormals | None:
    fold_of = split_into_folds([file.name for file in looked.files])
    return turned_normals(looked, recipe, SlopeEngine(), fold_of, seed=0, progress=silent)


def taken(copies: TurnedNormals | None) -> list[str]:
    assert copies is not None
    return [each["turn"] for each in copies.report if each["taken"]]


def test_all_copies_join_where_the_product_has_no_left_and_right(tmp_path: Path) -> None:
    copies = copies_of(plates(tmp_path, slope=False))
    assert taken(copies) == list(TURN_NAMES)
    assert copies is not None
    assert sorted(copies.base) == sorted(list(range(PICTURES)) * len(TURN_NAMES))


def test_copies_that_look_odd_are_left_out(tmp_path: Path) -> None:
    copies = copies_of(plates(tmp_path, slope=True))
    assert taken(copies) == ["upside down"]
    assert copies is not None
    assert {each["turn"]: each["auroc"] for each in copies.report}["left to right"] == 1.0


def test_a_bank_holds_the_chosen_pictures_and_their_copies(tmp_path: Path) -> None:
    looked = plates(tmp_path, slope=True)
    copies = copies_of(looked)
    assert copies is not None
    patches = LayerPatches.of(looked.grids, LAYER)
    some = np.arange(PICTURES) < 2
    bank = copies.remember(LAYER, patches, some, 0)
    assert isinstance(bank, LayerBank)
    rows = {tuple(row) for row in bank.values}
    own = patches.values[some].reshape(-1, bank.channels)
    of_copies = copies.layers[LAYER.name].values[some[copies.base]].reshape(-1, bank.channels)
    assert rows == {tuple(row) for row in np.concatenate([own, of_copies])}
    assert rows != {tuple(row) for row in own}


def test_other_layers_remember_what_they_did(tmp_path: Path) -> None:
    by_place = replace(LAYER, metric="place")
    looked = plates(tmp_path, slope=False)
    copies = copies_of(looked, Recipe(layers=(LAYER, by_place)))
    assert copies is not None
    patches = LayerPatches.of(looked.grids, LAYER)
    usual = copies.remember(by_place, patches, np.ones(PICTURES, np.bool_), 0)
    assert isinstance(usual, PlaceMemory)
    assert copies_of(looked, Recipe(layers=(by_place,))) is None


def test_where_there_are_many_no_copies_are_looked_at(tmp_path: Path) -> None:
    assert copies_of(plates(tmp_path, slope=False, count=FEW + 1)) is None


@pytest.mark.usefixtures("slope_engine")
@pytest.mark.parametrize("slope", [False, True])
def test_training_says_which_copies_joined(tmp_path: Path, slope: bool) -> None:
    plates(tmp_path / "normal", slope=slope)
    manifest = train(product="plate", normal=tmp_path / "normal", out=tmp_path / "bundle", recipe=RECIPE)
    report: Any = manifest.training["turned"]
    joined = [each["turn"] for each in report if each["taken"]]
    assert joined == (["upside down"] if slope else list(TURN_NAMES))
    (bank,) = read_bundle(tmp_path / "bundle").bank.layers
    assert isinstance(bank, LayerBank)
    slopes = bank.values[:, 0].astype(np.int32)
    assert (slopes > 0).all() if slope else (slopes < 0).any()


def test_comparing_copies_with_pictures_takes_long_and_says_how_far_it_is(tmp_path: Path) -> None:
    looked = plates(tmp_path, slope=False)
    fold_of = split_into_folds([file.name for file in looked.files])
    told: dict[str, tuple[int, int]] = {}
    turned_normals(
        looked,
        RECIPE,
        SlopeEngine(),
        fold_of,
        seed=0,
        progress=lambda stage, done, total: told.update({stage: (done, total)}),
    )
    folds = int(fold_of.max()) + 1
    assert told["comparing turned pictures"] == (folds, folds)
