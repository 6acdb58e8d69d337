"""Small memory banks for tests."""

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from shared.bank.bundle import Bundle, make_bundle
from shared.bank.upkeep import DefectPatches, Upkeep, UpkeepFigures
from shared.vision.bank import Bank, LayerMemory
from shared.vision.calibration import Calibration, LayerCalibration, PlaceSpread, Spread
from shared.vision.head import Head, HeadFigures
from shared.vision.int8_graphs import Int8Graph, Int8Graphs
from shared.vision.memory_bank import LayerBank
from shared.vision.patch_head import PatchHead, PatchHeadFigures
from shared.vision.patch_network import PatchNetwork
from shared.vision.place_memory import PlaceMemory
from shared.vision.promise import Promise
from shared.vision.recipe import DEFAULT_RECIPE, Metric, Recipe

WEIGHTS = "0" * 64
UPKEEP_FIGURES = UpkeepFigures(
    groups=("tray 1", "tray 2"), defects=("a.png",), kinds=("crack",), grids=((8, 8), (4, 4))
)
EPOCH = datetime(2026, 11, 24, 16, 15, tzinfo=UTC)


def make_bank(
    product: str = "chip",
    *,
    recipe: Recipe = DEFAULT_RECIPE,
    vectors: int = 5,
    channels: int = 3,
    seed: int = 0,
    **changes: Any,
) -> Bank:
    """A bank of random vectors; `changes` replace fields."""
    random = np.random.default_rng(seed)
    spread = Spread(mean=0.1, std=0.02)
    place = PlaceSpread(rows=1, columns=1, means=(0.1,), stds=(0.02,))
    promise = Promise(asked_rate=0.01, promised_rate=0.01, confidence=0.95, pictures=299, tolerated=0)
    parts: dict[str, Any] = {
        "product": product,
        "version": "",
        "feature_space": recipe.feature_space(WEIGHTS),
        "recipe": recipe,
        "layers": tuple(_memory(layer.metric, random, channels, vectors) for layer in recipe.layers),
        "calibration": Calibration(
            layers=tuple(LayerCalibration(patch=spread, place=place, score=spread) for _ in recipe.layers),
            promise=promise,
        ),
        "threshold": 3.5,
        "mask_threshold": 4.25,
    }
    return Bank(**(parts | changes))


def make(product: str = "chip", *, minute: int = 0, graphs: Int8Graphs | None = None, **changes: Any) -> Bundle:
    """A bundle of such a bank, made so many minutes after `EPOCH`; with `graphs`, of the default recipe in int8."""
    if graphs:
        changes["recipe"] = replace(DEFAULT_RECIPE, precision="int8", graphs_sha256=graphs.sha256)
    return make_bundle(
        make_bank(product, **changes),
        graphs=graphs,
        weights_sha256=WEIGHTS,
        training={"normals": 299, "split": "by part"},
        created_at=EPOCH + timedelta(minutes=minute),
    )


def make_graphs(weights: bytes = b"whole numbers") -> Int8Graphs:
    """Of the default recipe; no engine can read them."""
    return Int8Graphs({256: Int8Graph(b"<net/>", weights)})


def make_upkeep(**changes: Any) -> Upkeep:
    """Of three normals in two groups and one known defect in two layers; `changes` replace fields."""
    patches = DefectPatches(np.ones((1, 2, 3), np.int8), np.ones((1, 2), np.float32), np.array([[0, 15]], np.int32))
    fields: dict[str, Any] = {
        "figures": UPKEEP_FIGURES,
        "scores": np.array([0.5, 1.5, 2.5], np.float32),
        "peaks": np.array([1, 2, 3], np.float32),
        "group_of": np.array([0, 1, 0], np.int32),
        "layers": (patches, patches),
    }
    return Upkeep(**fields | changes)


def make_head(features: int = 6) -> Head:
    """Of one kind of defect."""
    figures = HeadFigures(weight=1.5, spread=Spread(mean=-1, std=0.1), gamma=0.5, offsets=(0.0, 0.5), kinds=("crack",))
    return Head(
        figures,
        np.zeros(features, np.float32),
        np.ones(features, np.float32),
        np.ones((2, features), np.float16),
        np.ones((2, 2), np.float32),
    )


def make_patch_head(channels: int = 6) -> PatchHead:
    figures = PatchHeadFigures(weight=0.5, spread=Spread(mean=-2, std=1), side=16, top_fraction=0.02)
    network = PatchNetwork(np.ones((channels, 2), np.float32), np.ones(2, np.float32), np.ones(3, np.float32))
    return PatchHead(figures, network, np.array([1.5], np.float32))


def assert_same(bank: Bank, other: Bank) -> None:
    """Arrays compare by content."""
    for field in ("product", "version", "feature_space", "recipe", "calibration", "threshold", "mask_threshold"):
        assert getattr(bank, field) == getattr(other, field)
    for layer, other_layer in zip(bank.layers, other.layers, strict=True):
        for part in fields(layer):
            np.testing.assert_array_equal(getattr(layer, part.name), getattr(other_layer, part.name))


def _memory(metric: Metric, random: np.random.Generator, channels: int, numbers: int) -> LayerMemory:
    if metric == "learnt":
        return _network(random, channels, numbers)
    if metric == "place":
        shape = (numbers, 2, channels)
        return PlaceMemory(random.random(shape, np.float32), 1 + random.random(shape, np.float32))
    return _layer_bank(random, channels, numbers)


def _layer_bank(random: np.random.Generator, channels: int, vectors: int) -> LayerBank:
    return LayerBank(
        random.integers(-128, 128, (vectors, channels), dtype=np.int8), random.random(vectors, dtype=np.float32)
    )


def _network(random: np.random.Generator, channels: int, hidden: int) -> PatchNetwork:
    return PatchNetwork(
        inward=random.random((channels, hidden), np.float32),
        biases=random.random(hidden, np.float32),
        outward=random.random(hidden + 1, np.float32),
    )
