from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from services.trainer.evaluation.evaluate import evaluate
from services.trainer.material.pictures import find_pictures
from services.trainer.normality.cross_fit import LayerPatches
from services.trainer.normality.drawn_patches import COPIES, DrawnPatches, draw_patches, learnt_layers
from services.trainer.normality.patch_teaching import _ONE_AT_A_TIME, Drawn, teach
from services.trainer.progress import silent
from services.trainer.train import train
from services.trainer.update import update
from shared.bank.bundle_folder import read_bundle
from shared.vision.memory_bank import LayerBank
from shared.vision.patch_network import PatchNetwork
from shared.vision.recipe import Recipe
from tests.unit.trainer.conftest import RECIPE, ColourEngine, draw

(BANK_LAYER,) = RECIPE.layers
LEARNT = replace(BANK_LAYER, metric="learnt")
BOTH = Recipe(layers=(BANK_LAYER, LEARNT))
PICTURES, GRID, CHANNELS = 40, 8, 6


def patches(features: np.ndarray) -> LayerPatches:
    scales = (np.abs(features).max(axis=3) / 127).astype(np.float32)
    return LayerPatches(np.rint(features / scales[..., None]).astype(np.int8), scales)


def normals_and_drawn(seed: int = 0) -> tuple[LayerPatches, Drawn]:
    """A defect adds to one channel, in a quarter of each copy."""
    random = np.random.default_rng(seed)
    normals = random.normal(0, 1, (PICTURES, GRID, GRID, CHANNELS)).astype(np.float32)
    copies = random.normal(0, 1, (PICTURES, GRID, GRID, CHANNELS)).astype(np.float32)
    copies[:, :4, :4, 2] += 4
    change = np.zeros((PICTURES, GRID, GRID), np.float32)
    change[:, :4, :4] = 20
    return patches(normals), Drawn(patches(copies), change)


EVERYONE = np.ones(PICTURES, np.bool_)


def test_a_network_tells_patches_with_a_drawn_defect_from_others_in_pictures_that_taught_nothing() -> None:
    normals, drawn = normals_and_drawn()
    taught = np.arange(PICTURES) < PICTURES // 2
    network = teach(drawn, taught, normals, taught, seed=0)
    found = network.distances(drawn.patches.of_pictures(~taught), "learnt")
    is_covered = drawn.change[~taught] > 0
    assert np.median(found[is_covered]) > np.quantile(found[~is_covered], 0.95)


def test_the_same_seed_teaches_the_same() -> None:
    normals, drawn = normals_and_drawn()
    first, again, other = (teach(drawn, EVERYONE, normals, EVERYONE, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.inward, again.inward)
    assert np.array_equal(first.outward, again.outward)
    assert not np.array_equal(first.inward, other.inward)


def test_features_of_all_normals_are_held_by_one_fold_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    normals, drawn = normals_and_drawn()
    features, alone = LayerPatches.features, []

    def watched(patches: LayerPatches, chosen: NDArray[np.bool_]) -> NDArray[np.float32]:
        alone.append(_ONE_AT_A_TIME.locked())
        return features(patches, chosen)

    monkeypatch.setattr(LayerPatches, "features", watched)
    teach(drawn, EVERYONE, normals, EVERYONE, seed=0)
    assert alone == [True]


def test_no_copy_of_a_normal_that_is_held_out_teaches() -> None:
    normals, drawn = normals_and_drawn()
    chosen = np.arange(PICTURES) >= 10
    base = np.arange(PICTURES)[::-1].copy()
    values = drawn.patches.values.copy()
    values[base < 10] = 127
    spoiled = Drawn(LayerPatches(values, drawn.patches.scales), drawn.change)
    networks = [
        DrawnPatches({LEARNT.name: each}, base).remember(LEARNT, normals, chosen, 0) for each in (drawn, spoiled)
    ]
    assert isinstance(networks[0], PatchNetwork)
    assert isinstance(networks[1], PatchNetwork)
    assert np.array_equal(networks[0].inward, networks[1].inward)


def test_copies_without_any_patch_that_is_covered_teach_that_nothing_is_wrong() -> None:
    normals, drawn = normals_and_drawn()
    network = teach(Drawn(drawn.patches, np.zeros_like(drawn.change)), EVERYONE, normals, EVERYONE, seed=0)
    assert np.isfinite(network.distances(normals.of_pictures(EVERYONE), "learnt")).all()


def test_every_normal_is_drawn_into_as_often_and_the_change_lies_where_the_defect_is(tmp_path: Path) -> None:
    for seed in range(6):
        draw(tmp_path / "normal" / f"{seed}.png", seed)
    files = find_pictures(tmp_path / "normal")
    drawn = draw_patches(files, BOTH, ColourEngine(), seed=0, progress=silent)
    assert (np.bincount(drawn.base) == COPIES).all()
    (layer,) = drawn.layers.values()
    assert layer.change.shape == layer.patches.scales.shape == (6 * COPIES, GRID, GRID)
    assert (layer.change.max(axis=(1, 2)) > 0).all()
    assert (layer.change.min(axis=(1, 2)) == 0).all()  # no defect covers all of a picture


@pytest.fixture
def normal(tmp_path: Path) -> Path:
    for seed in range(24):
        draw(tmp_path / "normal" / f"{seed:02}.png", seed)
    return tmp_path / "normal"


def test_a_bundle_with_a_learnt_layer_rejects_defects_and_is_read_back_as_it_was(normal: Path, tmp_path: Path) -> None:
    train(product="plate", normal=normal, out=tmp_path / "bundle", recipe=BOTH)
    bank = read_bundle(tmp_path / "bundle").bank
    assert [type(layer) for layer in bank.layers] == [LayerBank, PatchNetwork]
    for seed in range(4):
        draw(tmp_path / "abnormal" / f"{seed}.png", 100 + seed, defect=(30, 40))
    figures = evaluate(bundle=tmp_path / "bundle", normal=normal, abnormal=tmp_path / "abnormal")
    assert figures["image_auroc"] == 1
    assert figures["recall"] == 1


def test_the_same_seed_and_pictures_give_the_same_bundle(normal: Path, tmp_path: Path) -> None:
    first, again = (
        train(product="plate", normal=normal, out=tmp_path / name, recipe=BOTH) for name in ("first", "again")
    )
    assert [entry.sha256 for entry in first.arrays] == [entry.sha256 for entry in again.arrays]
    assert first.threshold == again.threshold


def test_an_update_leaves_a_network_as_it_was_taught(normal: Path, tmp_path: Path) -> None:
    draw(tmp_path / "abnormal" / "x.png", 100, defect=(30, 40))
    train(product="plate", normal=normal, abnormal=tmp_path / "abnormal", out=tmp_path / "bundle", recipe=BOTH)
    for seed in range(200, 204):
        draw(tmp_path / "more" / f"{seed}.png", seed)
    update(bundle=tmp_path / "bundle", normal=tmp_path / "more", out=tmp_path / "updated")
    before, after = (read_bundle(tmp_path / name).bank.layers[1] for name in ("bundle", "updated"))
    assert isinstance(before, PatchNetwork)
    assert isinstance(after, PatchNetwork)
    assert np.array_equal(before.inward, after.inward)


def test_only_learnt_layers_are_taught() -> None:
    assert learnt_layers(BOTH) == (LEARNT,)
    assert learnt_layers(RECIPE) == ()
