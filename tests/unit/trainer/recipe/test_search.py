from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from services.trainer.errors import NothingAffordable, TooFewNormals
from services.trainer.material.pictures import PictureFile, find_pictures
from services.trainer.material.rendered_defects import FAMILIES
from services.trainer.normality.cross_fit import LayerPatches
from services.trainer.progress import silent
from services.trainer.recipe import sample as recipe_sample
from services.trainer.recipe import search as recipe_search
from services.trainer.recipe.search import Found, search_recipe
from shared.vision.recipe import Layer, Recipe
from tests.unit.trainer.conftest import draw

GRID = 8
FEW = ("pit", "bump", "noisy")


class AnyEngine:
    """A patch's mean colours as every layer's features; `blind` layers see nothing but noise, `dim` ones some of it."""

    def __init__(self, recipe: Recipe, blind: tuple[str, ...] = (), dim: tuple[str, ...] = ()) -> None:
        self._recipe = recipe
        self._blind = blind
        self._dim = dim

    def features(self, pictures: NDArray[np.uint8], input_size: int) -> dict[str, NDArray[np.float32]]:
        side = input_size // GRID
        cells = pictures.astype(np.float32).reshape(-1, GRID, side, GRID, side, 3)
        seen = np.concatenate([cells.mean(axis=(2, 4)), 3 * cells.std(axis=(2, 4))], axis=3)
        noise = np.random.default_rng(0).normal(1, 0.1, seen.shape).astype(np.float32)
        dimmed = np.random.default_rng(int(pictures.sum())).normal(seen, 9).astype(np.float32)
        return {
            layer.name: noise if layer.tap in self._blind else dimmed if layer.tap in self._dim else seen
            for layer in self._recipe.layers
            if layer.input_size == input_size
        }


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe_search, "load_engine", lambda kind, recipe: AnyEngine(recipe, ("b12", "b14")))
    for module in (recipe_sample, recipe_search):
        monkeypatch.setattr(module, "FAMILIES", {name: FAMILIES[name] for name in FEW})


def search(normals: tuple[PictureFile, ...], **options: object) -> Found:
    asked = {"groups": None, "abnormals": (), "max_ms": None, "engine": "openvino", "seed": 0, "progress": silent}
    asked |= {"precision": "f32"}
    return search_recipe(normals, **asked | options)  # type: ignore[arg-type]


@pytest.mark.usefixtures("engine")
def test_layers_that_see_the_defects_are_found(normals: tuple[PictureFile, ...]) -> None:
    found = search(normals)
    assert {layer.tap for layer in found.recipe.layers} <= {"b4", "b7", "b10"}
    row = next(row for row in found.report["tried"] if row["candidate"] == "b12 @ 256 px")
    assert row["weight"] == 0


@pytest.mark.usefixtures("engine")
def test_usual_layers_are_not_given_up_since_the_recipe_may_keep_them(
    normals: tuple[PictureFile, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe_search, "load_engine", lambda kind, recipe: AnyEngine(recipe, dim=("b12",)))
    found = search(normals)
    rows = {row["candidate"]: row for row in found.report["tried"]}
    assert rows["b12 @ 256 px"]["weight"] > 0
    assert not rows["b12 @ 256 px"]["given_up"]


@pytest.mark.usefixtures("engine")
def test_the_same_seed_finds_the_same_recipe(normals: tuple[PictureFile, ...]) -> None:
    first, again = search(normals), search(normals)
    assert first == again  # times too would make another bundle
    assert search(normals, max_ms=1e6).report["ms"].keys() == {"256"}


@pytest.mark.usefixtures("engine")
def test_a_recipe_is_tried_and_found_in_the_precision_that_was_asked_for(
    normals: tuple[PictureFile, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = set()

    def load(_: str, recipe: Recipe) -> AnyEngine:
        tried.add(recipe.precision)
        return AnyEngine(recipe)

    monkeypatch.setattr(recipe_search, "load_engine", load)
    assert search(normals, precision="bf16").recipe.precision == "bf16"
    assert tried == {"bf16"}


@pytest.mark.usefixtures("engine")
def test_layers_of_lines_are_judged_by_the_families_of_thin_lines(
    normals: tuple[PictureFile, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (recipe_sample, recipe_search):
        monkeypatch.setattr(module, "FAMILIES", {name: FAMILIES[name] for name in ("pit", "crack", "noisy")})
    judged_by = []

    def join(recipe: Recipe, *others: object) -> Recipe:
        judged_by.append(others[-1])
        return recipe

    monkeypatch.setattr(recipe_search, "join_lines", join)
    search(normals)
    assert judged_by == [[1]]


def test_after_a_fold_those_that_it_held_out_have_scores_and_no_others() -> None:
    fold_of = np.array([0, 1, 2, 0])
    sample = SimpleNamespace(
        normals="abcd", spoilt="aabc", abnormals="x", fold_of=fold_of, spoilt_fold_of=fold_of[[0, 0, 1, 2]]
    )
    random = np.random.default_rng(0)
    patches = LayerPatches(
        random.integers(-127, 128, (9, 4, 4, 3)).astype(np.int8), random.random((9, 4, 4), np.float32)
    )
    measured = recipe_search._Measured(Layer(tap="b4"), patches, sample, 0)
    for fold, (normals, spoilt) in enumerate([(2, 2), (3, 3), (4, 4)]):
        measured.measure(fold)
        scores = measured.scores(fold + 1)
        assert (len(scores.normals), len(scores.spoilt), len(scores.abnormals)) == (normals, spoilt, 1)


@pytest.mark.usefixtures("engine")
def test_a_bound_that_nothing_keeps_is_refused_with_what_would_do(normals: tuple[PictureFile, ...]) -> None:
    with pytest.raises(NothingAffordable, match=r"256 pixels takes .* ms .*allow more"):
        search(normals, max_ms=1e-6)


@pytest.mark.usefixtures("engine")
def test_one_normal_is_too_few(normals: tuple[PictureFile, ...]) -> None:
    with pytest.raises(TooFewNormals):
        search(normals[:1])


@pytest.mark.usefixtures("engine")
def test_real_defects_are_reported_beside_the_drawn_ones(normals: tuple[PictureFile, ...], tmp_path: Path) -> None:
    draw(tmp_path / "abnormal" / "x.png", 50, defect=(30, 40))
    found = search(normals, abnormals=find_pictures(tmp_path / "abnormal"))
    assert found.report["abnormals"] == 1
    assert all(0 <= row["auroc_on_real"] <= 1 for row in found.report["tried"])


def test_a_recipe_of_real_layers_is_found_for_real_pictures(normals: tuple[PictureFile, ...]) -> None:
    found = search(normals[:4])
    assert found.recipe.layers
    assert all(isinstance(layer, Layer) and layer.input_size == 256 for layer in found.recipe.layers)
