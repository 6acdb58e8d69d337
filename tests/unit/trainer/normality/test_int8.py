import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from services.trainer.errors import QuantisationFailed
from services.trainer.material.pictures import PictureFile, find_pictures
from services.trainer.normality.int8 import Agreement, quantise
from services.trainer.progress import silent
from services.trainer.train import train
from services.trainer.update import update
from shared.bank.bundle_folder import read_bundle
from shared.vision.engines.loading import load_engine
from shared.vision.engines.precision import cpu_multiplies_int8
from shared.vision.errors import UnsupportedPrecision
from shared.vision.extraction import extract
from shared.vision.features import patches_of
from shared.vision.int8_graphs import Int8Graph, Int8Graphs
from shared.vision.picture import decode, decode_as_stored, resize
from shared.vision.recipe import Layer, Recipe
from tests.unit.trainer.conftest import RECIPE, ColourEngine, draw

GRAPHS = Int8Graphs({64: Int8Graph(b"<net/>", b"weights")})
SCORES = np.arange(40, dtype=np.float32)
DEFECTIVE = np.arange(40) >= 30


@pytest.fixture
def normal(tmp_path: Path) -> Path:
    for seed in range(24):
        draw(tmp_path / "normal" / f"{seed:02}.png", seed)
    return tmp_path / "normal"


@pytest.fixture
def quantised(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine of colours computes nothing that could be rounded: its int8 is like its float."""

    def quantise(recipe: Recipe, files: Sequence[PictureFile], **_: Any) -> tuple[Recipe, Int8Graphs]:
        return replace(recipe, precision="int8", graphs_sha256=GRAPHS.sha256), GRAPHS

    monkeypatch.setattr("services.trainer.normality.learning.quantise", quantise)
    monkeypatch.setattr("services.trainer.train.cpu_multiplies_int8", lambda: True)


def test_scores_that_stay_are_agreed_on() -> None:
    agreement = Agreement.of(SCORES, SCORES + 1, DEFECTIVE)
    assert agreement.refused_because is None
    assert agreement.report() == {
        "taken": True,
        "refused_because": None,
        "rank_correlation_of_normals": 1.0,
        "auroc_float": 1.0,
        "auroc_int8": 1.0,
    }


def test_an_order_of_good_pictures_that_does_not_stay_is_refused() -> None:
    shuffled = SCORES.copy()
    shuffled[:30] = np.random.default_rng(0).permutation(shuffled[:30])
    assert "rank correlation" in (Agreement.of(SCORES, shuffled, DEFECTIVE).refused_because or "")
    assert Agreement.of(SCORES, np.zeros_like(SCORES), DEFECTIVE).normals == 0.0


def test_defects_that_are_told_apart_less_well_are_refused() -> None:
    worse = SCORES.copy()
    worse[30:33] = 20
    assert (Agreement.of(SCORES, worse, DEFECTIVE).refused_because or "").startswith("it costs 0.0")
    assert Agreement.of(worse, SCORES, DEFECTIVE).refused_because is None


def test_int8_is_taken_where_scores_stay_and_kept_by_an_update(
    normal: Path, tmp_path: Path, quantised: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "bundle"
    manifest = train(product="plate", normal=normal, out=out, recipe=RECIPE, precision="int8")
    assert (manifest.recipe.precision, manifest.recipe.graphs_sha256) == ("int8", GRAPHS.sha256)
    assert manifest.training["int8"]["taken"]
    assert read_bundle(out).graphs == GRAPHS
    for seed in range(50, 56):
        draw(tmp_path / "more" / f"{seed}.png", seed)
    looked_through = []

    def load_engine(_: str, recipe: Recipe, *, graphs: Int8Graphs | None) -> ColourEngine:
        looked_through.append((recipe.precision, graphs))
        return ColourEngine()

    monkeypatch.setattr("services.trainer.update.load_engine", load_engine)
    update(bundle=out, normal=tmp_path / "more", out=tmp_path / "grown")
    assert read_bundle(tmp_path / "grown").graphs == GRAPHS
    assert looked_through == [("int8", GRAPHS)]


def test_where_scores_do_not_stay_features_stay_in_float_and_a_warning_says_why(
    normal: Path, tmp_path: Path, quantised: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.trainer.normality.int8.LEAST_AGREEMENT", 1.01)
    manifest = train(product="plate", normal=normal, out=tmp_path / "bundle", recipe=RECIPE, precision="int8")
    assert manifest.recipe.precision != "int8"
    assert manifest.recipe.graphs_sha256 is None
    assert read_bundle(tmp_path / "bundle").graphs is None
    assert "features stay in float, since in int8 good pictures' scores" in str(manifest.training["warnings"])


def test_a_recipe_of_a_bundle_in_int8_is_quantised_anew(normal: Path, tmp_path: Path, quantised: None) -> None:
    of_another = replace(RECIPE, precision="int8", graphs_sha256="0" * 64)
    manifest = train(product="plate", normal=normal, out=tmp_path / "bundle", recipe=of_another)
    assert manifest.recipe.graphs_sha256 == GRAPHS.sha256


def test_int8_is_refused_before_the_work_where_it_cannot_be_computed(
    normal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {"product": "plate", "normal": normal, "out": tmp_path / "b", "precision": "int8"}
    with pytest.raises(UnsupportedPrecision, match="train with --engine openvino"):
        train(**asked, engine="tensorflow")
    monkeypatch.setattr("services.trainer.train.cpu_multiplies_int8", lambda: False)
    with pytest.raises(UnsupportedPrecision, match="neither VNNI nor AMX"):
        train(**asked)


@pytest.mark.skipif(not cpu_multiplies_int8(), reason="this CPU has neither VNNI nor AMX, and int8 is refused there")
def test_a_backbone_in_int8_sees_nearly_what_it_sees_in_float(normal: Path) -> None:
    recipe = Recipe(layers=(Layer(tap="b4", input_size=64, pool=1), Layer(tap="b7", input_size=64, pool=3)))
    files = find_pictures(normal)
    in_int8, graphs = quantise(recipe, files, seed=0, progress=silent)
    pictures = [decode(file.read()) for file in files[:4]]
    seen = [
        extract(pictures, each, load_engine("openvino", each, threads=1, graphs=of_int8))
        for each, of_int8 in ((recipe, None), (in_int8, graphs))
    ]
    for as_float, as_int8 in zip(*seen, strict=True):
        for grid, other in zip(as_float, as_int8, strict=True):
            ours, theirs = (patches_of(each).features.reshape(-1, each.channels) for each in (grid, other))
            norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
            assert ((ours * theirs).sum(axis=1) / norms).mean() > 0.97
            assert (ours != theirs).any()
    with pytest.raises(UnsupportedPrecision, match="a recipe in int8 without int8 graphs"):
        load_engine("openvino", in_int8)
    with pytest.raises(UnsupportedPrecision, match="a recipe in f32 with int8 graphs"):
        load_engine("openvino", recipe, graphs=graphs)


def test_pictures_that_calibrate_are_held_at_the_input_sizes_alone(
    normal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full_size: list[weakref.ref[NDArray[np.uint8]]] = []
    alive: list[int] = []
    shown: dict[str, NDArray[np.uint8]] = {}

    def watched(data: bytes) -> NDArray[np.uint8]:
        picture = decode_as_stored(data)
        full_size.append(weakref.ref(picture))
        alive.append(sum(each() is not None for each in full_size))
        return picture

    def remembered(graph: Path, pictures: NDArray[np.uint8]) -> Int8Graph:
        shown[graph.name] = pictures
        return Int8Graph(b"<net/>", b"weights")

    graphs = {48: tmp_path / "48.xml", 32: tmp_path / "32.xml"}
    monkeypatch.setattr("services.trainer.normality.int8.decode_as_stored", watched)
    monkeypatch.setattr("services.trainer.normality.int8.converted_graphs", lambda recipe, folder: graphs)
    monkeypatch.setattr("services.trainer.normality.int8._quantised", remembered)
    files = find_pictures(normal)
    quantise(RECIPE, files, seed=0, progress=silent)
    assert len(alive) == len(files)
    assert max(alive) <= 2
    for size, graph in graphs.items():
        expected = np.stack([resize(decode(file.read()), size) for file in files])
        assert np.array_equal(shown[graph.name], expected)


def test_a_graph_that_cannot_be_quantised_is_named(
    normal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "services.trainer.normality.int8.converted_graphs", lambda recipe, folder: {64: tmp_path / "none.xml"}
    )
    with pytest.raises(QuantisationFailed, match=r"none\.xml could not be quantised: .*train with --precision auto"):
        quantise(RECIPE, find_pictures(normal), seed=0, progress=silent)
