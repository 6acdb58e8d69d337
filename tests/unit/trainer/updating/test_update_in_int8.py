from dataclasses import replace
from pathlib import Path

import pytest

from services.trainer import update as trainer_update
from services.trainer.update import update
from shared.bank.bundle import make_bundle
from shared.bank.bundle_folder import read_bundle, write_bundle
from shared.vision.int8_graphs import Int8Graph, Int8Graphs
from shared.vision.recipe import Recipe
from tests.unit.trainer.conftest import RECIPE, ColourEngine


def test_an_update_in_int8_looks_through_the_bundles_own_graphs_and_keeps_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs = Int8Graphs({RECIPE.layers[0].input_size: Int8Graph(b"<net/>", b"whole numbers")})
    recipe = replace(RECIPE, precision="int8", graphs_sha256=graphs.sha256)
    before = read_bundle(folder / "bundle")
    bank = replace(before.bank, recipe=recipe, feature_space=recipe.feature_space("0" * 64))
    in_int8 = make_bundle(bank, weights_sha256="0" * 64, training={}, upkeep=before.upkeep, graphs=graphs)
    write_bundle(folder / "bundle", in_int8)
    looked_through = []

    def load_engine(_: str, recipe: Recipe, *, graphs: Int8Graphs | None) -> ColourEngine:
        looked_through.append((recipe, graphs))
        return ColourEngine()

    monkeypatch.setattr(trainer_update, "load_engine", load_engine)
    update(bundle=folder / "bundle", normal=folder / "stamped", out=folder / "updated")
    updated = read_bundle(folder / "updated")
    assert updated.bank.recipe == recipe
    assert updated.bank.feature_space == bank.feature_space
    assert updated.graphs == graphs
    assert looked_through == [(recipe, graphs)]
