from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from services.extractor import engines
from services.extractor.engines import EngineCache
from services.extractor.errors import RecipeUnsupported
from services.extractor.settings import EngineSettings
from shared.bank.errors import UnknownFeatureSpace
from shared.vision.backbone_weights import backbone_weights_sha256
from shared.vision.errors import ConversionFailed, UnsupportedPrecision
from shared.vision.int8_graphs import Int8Graph, Int8Graphs
from shared.vision.recipe import Layer, Recipe

RECIPE = Recipe(layers=(Layer(tap="b7", input_size=64), Layer(tap="b12", input_size=96)))


def no_graphs(_recipe: Recipe) -> None:
    return None


class SeenEngine:
    batch_sizes = (1, 4)

    def __init__(self, graphs: Int8Graphs | None, threads: int | None = None) -> None:
        self.graphs = graphs
        self.threads = threads
        self.seen: list[tuple[tuple[int, ...], int]] = []

    def features(self, pictures: np.ndarray, input_size: int) -> dict[str, np.ndarray]:
        self.seen.append((pictures.shape, input_size))
        return {}


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[SeenEngine]:
    made: list[SeenEngine] = []

    def load_engine(*_: Any, graphs: Int8Graphs | None, threads: int | None = None) -> SeenEngine:
        made.append(SeenEngine(graphs, threads))
        return made[-1]

    monkeypatch.setattr(engines, "load_engine", load_engine)
    return made


def test_every_batch_size_of_every_input_size_is_run_before_the_first_chip(loaded: list[SeenEngine]) -> None:
    EngineCache(EngineSettings(), no_graphs).warm_up(RECIPE)
    expected = [((count, size, size, 3), size) for size in (64, 96) for count in (1, 4)]
    assert sorted(loaded[0].seen, key=lambda batch: batch[1]) == expected


def test_an_engine_takes_as_many_threads_as_are_set(loaded: list[SeenEngine]) -> None:
    EngineCache(EngineSettings(threads=3), no_graphs).warm_up(RECIPE)
    assert loaded[0].threads == 3


def test_one_engine_serves_all_products_of_a_feature_space(loaded: list[SeenEngine]) -> None:
    cache = EngineCache(EngineSettings(), no_graphs)
    cache.warm_up(RECIPE)
    cache.warm_up(RECIPE)
    assert len(loaded) == 1


def test_the_engine_that_was_longest_not_used_makes_room_and_is_told_of(loaded: list[SeenEngine]) -> None:
    recipes = [replace(RECIPE, layers=(Layer(tap=tap, input_size=64),)) for tap in ("b4", "b7", "b12")]
    cache = EngineCache(EngineSettings(held=2), no_graphs)
    with capture_logs() as logs:
        cache.warm_up(recipes[0])
        cache.warm_up(recipes[1])
        cache.warm_up(recipes[0])
        assert logs == []
        cache.warm_up(recipes[2])
    (told,) = logs
    assert (told["event"], told["held"]) == ("engine_dropped", 2)
    assert told["feature_space"] == recipes[1].feature_space(backbone_weights_sha256(RECIPE.backbone))
    cache.warm_up(recipes[0])
    assert len(loaded) == 3
    cache.warm_up(recipes[1])
    assert len(loaded) == 4


def test_an_engine_in_int8_gets_the_graphs_of_its_recipe(loaded: list[SeenEngine]) -> None:
    graphs = Int8Graphs({size: Int8Graph(b"<net/>", b"weights") for size in (64, 96)})
    in_int8 = replace(RECIPE, precision="int8", graphs_sha256=graphs.sha256)
    cache = EngineCache(EngineSettings(), {in_int8: graphs, RECIPE: None}.__getitem__)
    cache.warm_up(in_int8)
    cache.warm_up(RECIPE)
    assert [engine.graphs for engine in loaded] == [graphs, None]


def test_features_of_another_space_are_refused_before_an_engine_is_made(loaded: list[SeenEngine]) -> None:
    with pytest.raises(UnknownFeatureSpace, match="made in feature space 0123456789abcdef, this extractor makes"):
        EngineCache(EngineSettings(), no_graphs).engine(RECIPE, "0123456789abcdef")
    assert not loaded


@pytest.mark.parametrize("failure", [UnsupportedPrecision("choose f32"), ConversionFailed("no room for choose f32")])
def test_a_recipe_that_cannot_be_computed_is_tried_again_only_after_a_while(
    monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    tries: list[float] = []
    now = 100.0

    def load_engine(*_: Any, **__: Any) -> SeenEngine:
        tries.append(now)
        if len(tries) < 3:
            raise failure
        return SeenEngine(None)

    monkeypatch.setattr(engines, "load_engine", load_engine)
    cache = EngineCache(EngineSettings(), no_graphs, clock=lambda: now)
    for _ in range(2):
        for _ in range(3):
            with pytest.raises(RecipeUnsupported, match="choose f32"):
                cache.warm_up(RECIPE)
        now += engines.RETRY_S
    cache.warm_up(RECIPE)
    assert tries == [100.0, 100.0 + engines.RETRY_S, 100.0 + 2 * engines.RETRY_S]


@pytest.mark.parametrize("backbone", ["/models/line7.keras", "keras:Nothing"])
def test_a_recipe_of_a_network_that_is_not_here_lets_its_own_chips_wait_and_no_others(
    loaded: list[SeenEngine], backbone: str
) -> None:
    elsewhere = replace(RECIPE, backbone=backbone)
    cache = EngineCache(EngineSettings(), no_graphs)
    with pytest.raises(RecipeUnsupported, match=backbone.removeprefix("keras:")):
        cache.warm_up(elsewhere)
    with pytest.raises(RecipeUnsupported, match=backbone.removeprefix("keras:")):
        cache.engine(elsewhere, "0123456789abcdef")
    assert not loaded
