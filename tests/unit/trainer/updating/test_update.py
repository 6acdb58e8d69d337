from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from services.trainer.errors import (
    AmbiguousPictures,
    CannotUpdate,
    NoPictures,
    PromiseRefused,
    StrangePictures,
    SwallowsDefects,
)
from services.trainer.evaluation.evaluate import evaluate
from services.trainer.material.picture_features import look_at_all
from services.trainer.material.pictures import find_pictures
from services.trainer.progress import silent
from services.trainer.promise.thresholds import Asked, HeldOut, Threshold, choose_threshold
from services.trainer.train import train
from services.trainer.update import update
from services.trainer.upkeep.growing import Grown, grow
from services.trainer.upkeep.remembered import anomaly_scores
from shared.bank.bundle import make_bundle
from shared.bank.bundle_folder import read_bundle, write_bundle
from shared.bank.errors import UnwritableBundle
from shared.vision.bank import LayerMemory
from shared.vision.calibration import Spread
from shared.vision.head import Head, HeadFigures
from shared.vision.inspection import layer_patches, picture_scores
from shared.vision.memory_bank import MAX_VECTORS, LayerBank
from shared.vision.patch_head import PatchHead, PatchHeadFigures
from shared.vision.patch_network import PatchNetwork
from shared.vision.place_memory import PlaceMemory
from shared.vision.recipe import Recipe
from tests.unit.trainer.conftest import RECIPE, ColourEngine, draw
from tests.unit.trainer.updating.conftest import SPOTS, rejected, stamp


def test_confirmed_false_rejects_pass_after_an_update_and_defects_are_still_rejected(folder: Path) -> None:
    assert rejected(folder / "bundle", folder / "later") == (1, None)
    manifest = update(bundle=folder / "bundle", normal=folder / "stamped", out=folder / "updated")
    assert rejected(folder / "updated", folder / "later", folder / "abnormal") == (0, 1)
    assert rejected(folder / "updated", folder / "normal")[0] == 0
    before = read_bundle(folder / "bundle").manifest
    assert (manifest.product, manifest.recipe, manifest.feature_space) == (
        before.product,
        before.recipe,
        before.feature_space,
    )
    assert manifest.calibration.map_level == before.calibration.map_level > 0
    assert manifest.version != before.version == manifest.training["updated_from"]
    assert (manifest.training["normals"], manifest.training["added"]) == (48, 8)


def test_the_promise_counts_old_and_new_normals_and_the_bank_stays_bounded(folder: Path) -> None:
    manifest = update(bundle=folder / "bundle", normal=folder / "stamped", out=folder / "bundle")
    assert manifest.calibration.promise.pictures == 48
    updated = read_bundle(folder / "bundle")
    assert all(len(layer.values) <= MAX_VECTORS for layer in updated.bank.layers)
    assert updated.upkeep is not None
    assert len(updated.upkeep.scores) == 48


def test_a_bundle_can_be_updated_again_and_again(folder: Path) -> None:
    update(bundle=folder / "bundle", normal=folder / "stamped", out=folder / "bundle")
    manifest = update(bundle=folder / "bundle", normal=folder / "later", out=folder / "bundle")
    assert manifest.training["normals"] == 56
    assert rejected(folder / "bundle", folder / "stamped", folder / "abnormal") == (0, 1)


def test_an_update_that_swallows_known_defects_is_refused_by_their_names(folder: Path) -> None:
    for index, spot in enumerate(SPOTS):
        draw(folder / "slipped" / f"{index}.png", 5000 + index, defect=spot)
    with pytest.raises(SwallowsDefects, match=r"of 8 known defects .* for instance blot/"):
        update(bundle=folder / "bundle", normal=folder / "slipped", out=folder / "updated")
    assert not (folder / "updated").exists()


def test_a_known_defect_exactly_on_the_threshold_passes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def on_the_lowest_defect(normals: HeldOut, defects: HeldOut, *others: Any, **named: Any) -> Threshold:
        return replace(choose_threshold(normals, defects, *others, **named), value=float(defects.scores.min()))

    monkeypatch.setattr("services.trainer.update.choose_threshold", on_the_lowest_defect)
    monkeypatch.setattr("services.trainer.update.refuse_strangers", lambda *_, **__: [])
    with pytest.raises(SwallowsDefects, match=r"^1 of 8 known defects"):
        update(bundle=folder / "bundle", normal=folder / "stamped", out=folder / "updated")
    threshold = read_bundle(folder / "bundle").bank.threshold
    monkeypatch.setattr("services.trainer.update.known_scores", lambda *_: np.full(8, threshold, np.float32))
    manifest = update(bundle=folder / "bundle", normal=folder / "stamped", out=folder / "updated")
    assert manifest.training["lost_defects"] == []  # none was rejected before


def test_another_products_pictures_are_refused_with_the_numbers(folder: Path) -> None:
    train(product="plate", normal=folder / "normal", out=folder / "bundle", recipe=RECIPE)
    for seed in range(12):
        pixels = np.random.default_rng(seed).normal(60, 25, (96, 128, 3))
        pixels[20:60, 20 : 60 + seed] = (200, 50, 50)
        (folder / "other").mkdir(exist_ok=True)
        cv2.imwrite(str(folder / "other" / f"{seed}.png"), np.clip(pixels, 0, 255).astype(np.uint8))
    with pytest.raises(StrangePictures, match=r"12 of 12 new pictures are rejected .* would rise from 0.\d+ to \d+"):
        update(bundle=folder / "bundle", normal=folder / "other", out=folder / "updated", asked=Asked(best_effort=True))
    assert not (folder / "updated").exists()


def test_a_rising_threshold_is_warned_of_by_the_oddest_pictures_name(folder: Path) -> None:
    manifest = update(bundle=folder / "bundle", normal=folder / "stamped", out=folder / "updated")
    assert "the threshold rises from" in str(manifest.training["warnings"])
    manifest = update(bundle=folder / "updated", normal=folder / "later", out=folder / "again")
    assert "the threshold rises from" not in str(manifest.training["warnings"])


def test_a_head_learns_of_the_new_normals_too(folder: Path) -> None:
    for seed in range(20):  # no patch is odder than a good plate's, but the grain is a little finer everywhere
        path = folder / "dull" / f"{seed}.png"
        draw(path, 6000 + seed)
        plate = cv2.imread(str(path))
        assert plate is not None
        cv2.imwrite(str(path), cv2.GaussianBlur(plate, (3, 3), 0.35))
    train(product="plate", normal=folder / "normal", abnormal=folder / "dull", out=folder / "bundle", recipe=RECIPE)
    before = read_bundle(folder / "bundle").bank.head
    assert before is not None
    for seed in range(8):
        draw(folder / "more" / f"{seed}.png", 7000 + seed)
    update(bundle=folder / "bundle", normal=folder / "more", out=folder / "updated")
    after = read_bundle(folder / "updated").bank.head
    assert after is not None
    assert len(after.support) == len(before.support) + 8
    assert after.figures == before.figures


def test_a_patch_head_stays_as_it_was_taught_and_counts_in_the_new_scores(folder: Path) -> None:
    """One that answers 3 (81, under a fourth root) to everything: two deviations of weight 0.5 more a new picture."""
    bundle = read_bundle(folder / "bundle")
    head = bundle.bank.head
    channels = sum(layer.values.shape[1] for layer in bundle.bank.layers if isinstance(layer, LayerBank))
    network = PatchNetwork(np.zeros((channels, 1), np.float32), np.zeros(1, np.float32), np.array([0, 81], np.float32))
    figures = PatchHeadFigures(weight=0.5, spread=Spread(mean=1, std=1), side=4, top_fraction=0.1)
    patch_head = PatchHead(figures, network, np.full(8, 2, np.float32))
    bank = replace(bundle.bank, patch_head=patch_head)
    taught = make_bundle(bank, weights_sha256=bundle.manifest.weights_sha256, training={}, upkeep=bundle.upkeep)
    write_bundle(folder / "taught", taught)
    for name in ("bundle", "taught"):
        update(bundle=folder / name, normal=folder / "stamped", out=folder / f"{name} updated")
    without, updated = read_bundle(folder / "bundle updated"), read_bundle(folder / "taught updated")
    assert updated.bank.patch_head is not None
    assert updated.bank.patch_head.figures == figures
    assert updated.bank.patch_head.network.outward.tolist() == [0, 81]
    assert (updated.bank.head is None) == (head is None)
    assert updated.upkeep is not None
    assert without.upkeep is not None
    added = updated.upkeep.scores - without.upkeep.scores
    np.testing.assert_allclose(added, [0] * 40 + [1] * 8, atol=1e-5)


def test_without_known_defects_there_is_a_warning(folder: Path) -> None:
    train(product="plate", normal=folder / "normal", out=folder / "bundle", recipe=RECIPE)
    manifest = update(bundle=folder / "bundle", normal=folder / "stamped", out=folder / "updated")
    assert any("knows no defects" in str(warning) for warning in manifest.training["warnings"])  # type: ignore[union-attr]


def test_what_is_asked_for_by_name_is_kept_or_refused(folder: Path) -> None:
    options = {"bundle": folder / "bundle", "normal": folder / "stamped", "out": folder / "updated"}
    with pytest.raises(PromiseRefused, match="48 good pictures are too few"):
        update(**options, asked=Asked(false_reject_rate=0.01))  # type: ignore[arg-type]
    manifest = update(**options, asked=Asked(false_reject_rate=0.2, confidence=0.9))  # type: ignore[arg-type]
    assert manifest.calibration.promise.kept


def test_a_limit_on_escapes_needs_known_defects(folder: Path) -> None:
    train(product="plate", normal=folder / "normal", out=folder / "bundle", recipe=RECIPE)
    with pytest.raises(PromiseRefused, match=r"--max-escape-rate 0.1\) .* the bundle knows none"):
        update(
            bundle=folder / "bundle",
            normal=folder / "stamped",
            out=folder / "updated",
            asked=Asked(max_escape_rate=0.1, best_effort=True),
        )


def test_what_a_bundle_was_asked_for_it_keeps(folder: Path) -> None:
    asked = Asked(false_reject_rate=0.2, confidence=0.9)
    train(product="plate", normal=folder / "normal", out=folder / "bundle", recipe=RECIPE, asked=asked)
    manifest = update(bundle=folder / "bundle", normal=folder / "stamped", out=folder / "updated")
    assert (manifest.calibration.promise.asked_rate, manifest.calibration.promise.confidence) == (0.2, 0.9)


def test_what_it_is_no_more_held_to_is_said(folder: Path) -> None:
    kept = Asked(false_reject_rate=0.2, confidence=0.9, max_escape_rate=0.5)
    places = {"normal": folder / "normal", "abnormal": folder / "abnormal", "out": folder / "bundle"}
    train(product="plate", recipe=RECIPE, asked=kept, **places)
    options = {"bundle": folder / "bundle", "normal": folder / "stamped", "out": folder / "updated"}
    manifest = update(**options, asked=Asked(false_reject_rate=0.3))
    assert manifest.calibration.escape_promise is None
    assert "the bundle kept --confidence 0.9, --max-escape-rate 0.5, and is held to it no more" in str(
        manifest.training["warnings"]
    )
    assert "no more" not in str(update(**options, asked=kept).training["warnings"])
    assert "no more" not in str(update(**options).training["warnings"])


def test_blank_frames_that_would_pass_are_warned_of_after_an_update_too(folder: Path) -> None:
    train(product="plate", normal=folder / "normal", out=folder / "bundle", recipe=RECIPE)
    assert "frame would pass" not in str(read_bundle(folder / "bundle").manifest.training["warnings"])
    (folder / "polished").mkdir()
    for seed in range(12):  # without grain, and brighter to one side
        steps = np.repeat(np.linspace(110, 150, 8), 16) + seed
        cv2.imwrite(
            str(folder / "polished" / f"{seed}.png"), np.tile(steps[None, :, None], (96, 1, 3)).astype(np.uint8)
        )
    manifest = update(bundle=folder / "bundle", normal=folder / "polished", out=folder / "updated")
    assert "a mid-grey frame would pass" in str(manifest.training["warnings"])


def test_defects_that_updates_lose_are_named_and_remembered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.trainer.upkeep.swallowing.MAX_LOST", 1)
    monkeypatch.setattr("services.trainer.upkeep.strangers.FAR_ABOVE", 1e9)
    monkeypatch.setattr("services.trainer.upkeep.strangers.REFUSED_RISE", 1e9)
    for index, spot in enumerate(SPOTS):
        draw(folder / "slipped" / f"{index}.png", 5000 + index, defect=spot)
    manifest = update(bundle=folder / "bundle", normal=folder / "slipped", out=folder / "updated")
    lost = manifest.training["lost_defects"]
    assert isinstance(lost, list)
    assert lost
    assert f"{len(lost)} of 8 known defects that were rejected before" in str(manifest.training["warnings"])
    again = update(bundle=folder / "updated", normal=folder / "stamped", out=folder / "again")
    assert set(again.training["lost_defects"]) & set(lost)  # type: ignore[arg-type]  # two lists of names


def test_an_updated_bundle_tells_of_itself_not_of_what_it_was(folder: Path) -> None:
    more = folder / "more.csv"
    more.write_text("file,group\n" + "".join(f"{seed}.png,tray{seed // 4}\n" for seed in range(8)))
    options = {"bundle": folder / "bundle", "normal": folder / "stamped", "out": folder / "updated", "groups": more}
    manifest = update(**options, seed=7)  # type: ignore[arg-type]  # a mapping of places
    training, upkeep = manifest.training, read_bundle(folder / "updated").upkeep
    assert (training["split"], training["groups"], training["folds"], training["seed"]) == ("grouped", 42, 2, 7)
    assert training["on_abnormals"] == {"image_auroc": 1.0, "escape_rate": 0.0}
    assert training["head"] == {"joined": bool(manifest.head or manifest.patch_head)}
    assert upkeep is not None
    assert upkeep.figures.defect_groups == tuple(f"file blot/{index}.png" for index in range(8))


def test_a_head_that_names_kinds_and_no_more_has_not_joined_the_score(folder: Path) -> None:
    bundle = read_bundle(folder / "bundle")
    described = 2 * sum(layer.values.shape[1] for layer in bundle.bank.layers if isinstance(layer, LayerBank))
    head = Head(
        HeadFigures(weight=0, spread=Spread(mean=0, std=1), gamma=1, offsets=(0, 0, 0), kinds=("blot", "crack")),
        centre=np.zeros(described, np.float32),
        scale=np.ones(described, np.float32),
        support=np.zeros((40 + len(SPOTS), described), np.float16),
        coefficients=np.zeros((40 + len(SPOTS), 3), np.float32),
    )
    bank = replace(bundle.bank, head=head, patch_head=None)
    naming = make_bundle(bank, weights_sha256=bundle.manifest.weights_sha256, training={}, upkeep=bundle.upkeep)
    write_bundle(folder / "naming", naming)
    manifest = update(bundle=folder / "naming", normal=folder / "stamped", out=folder / "updated")
    assert manifest.head is not None
    assert manifest.training["head"] == {"joined": False}


def test_a_place_that_cannot_be_written_to_is_refused_before_the_work(folder: Path) -> None:
    told: list[str] = []
    with pytest.raises(UnwritableBundle):
        update(
            bundle=folder / "bundle",
            normal=folder / "stamped",
            out=Path("/proc/foo"),
            progress=lambda stage, *_: told.append(stage),
        )
    assert told == []


def test_remembered_patches_give_the_defects_their_scores(folder: Path) -> None:
    bundle = read_bundle(folder / "bundle")
    bank, upkeep = bundle.bank, bundle.upkeep
    assert upkeep is not None
    assert upkeep.figures.defects == tuple(f"blot/{index}.png" for index in range(8))
    scores = anomaly_scores(upkeep, bank.layers, bank.recipe, bank.calibration.layers)
    if bank.head is None:
        figures = evaluate(
            bundle=folder / "bundle",
            normal=folder / "normal",
            abnormal=folder / "abnormal",
            scores=folder / "scores.jsonl",
        )
        assert figures["images"] == 48
        lines = (folder / "scores.jsonl").read_text().splitlines()[40:]
        assert scores == pytest.approx([float(line.split('"score": ')[1].split(",")[0]) for line in lines], abs=1e-3)


def test_a_bundle_that_remembers_nothing_cannot_be_updated(folder: Path) -> None:
    bundle = read_bundle(folder / "bundle")
    write_bundle(folder / "bundle", make_bundle(bundle.bank, weights_sha256="0" * 64, training={}))
    with pytest.raises(CannotUpdate, match="train it again"):
        update(bundle=folder / "bundle", normal=folder / "stamped", out=folder / "updated")


def test_pictures_that_cannot_be_read_add_nothing(folder: Path) -> None:
    (folder / "broken").mkdir()
    (folder / "broken" / "x.png").write_bytes(b"no picture")
    with pytest.raises(NoPictures):
        update(bundle=folder / "bundle", normal=folder / "broken", out=folder / "updated")


def test_pictures_that_the_bundle_knows_are_left_out_and_nothing_new_is_refused(folder: Path) -> None:
    with pytest.raises(CannotUpdate, match="learnt from all 40 pictures"):
        update(bundle=folder / "bundle", normal=folder / "normal", out=folder / "updated")
    for seed in range(5):
        draw(folder / "stamped" / f"again{seed}.png", seed)
    stamp(folder / "stamped" / "z.png", 3000)
    manifest = update(bundle=folder / "bundle", normal=folder / "stamped", out=folder / "updated")
    training = manifest.training
    assert (training["normals"], training["added"], training["known"], training["copies"]) == (48, 8, 5, 1)
    assert manifest.calibration.promise.pictures == 48
    assert "5 pictures are known to the bundle already" in str(training["warnings"])
    with pytest.raises(CannotUpdate, match="learnt from all 13 pictures"):
        update(bundle=folder / "updated", normal=folder / "stamped", out=folder / "again")


def test_defects_that_the_bundle_knows_are_no_good_pictures(folder: Path) -> None:
    draw(folder / "stamped" / "slipped.png", 2000, defect=SPOTS[0])
    with pytest.raises(AmbiguousPictures, match=r"defects that the bundle has learnt from, for instance slipped.png"):
        update(bundle=folder / "bundle", normal=folder / "stamped", out=folder / "updated")


def test_a_bundle_without_digests_is_updated_as_before(folder: Path) -> None:
    bundle = read_bundle(folder / "bundle")
    training = {name: value for name, value in bundle.manifest.training.items() if name != "digests"}
    old = make_bundle(bundle.bank, weights_sha256="0" * 64, training=training, upkeep=bundle.upkeep)
    write_bundle(folder / "bundle", old)
    assert update(bundle=folder / "bundle", normal=folder / "stamped", out=folder / "updated").training["added"] == 8


def test_the_same_seed_updates_the_same(folder: Path) -> None:
    first, second = (
        update(bundle=folder / "bundle", normal=folder / "stamped", out=folder / name) for name in ("first", "second")
    )
    assert first.version.split("-")[1] == second.version.split("-")[1]
    assert np.isfinite(first.threshold)


def test_what_is_usual_at_each_place_stays_and_known_defects_keep_their_scores(folder: Path) -> None:
    by_place = replace(RECIPE.layers[0], metric="place", weight=0.5)
    train(
        product="plate",
        normal=folder / "normal",
        abnormal=folder / "abnormal",
        out=folder / "placed",
        recipe=Recipe(layers=(by_place,)),
    )
    before = read_bundle(folder / "placed")
    assert before.upkeep is not None
    for seed in range(8):
        draw(folder / "more" / f"{seed}.png", 7000 + seed)
    with pytest.raises(StrangePictures):  # a place does not learn of a stamp, and the threshold would lie above it
        update(bundle=folder / "placed", normal=folder / "stamped", out=folder / "updated")
    update(bundle=folder / "placed", normal=folder / "more", out=folder / "updated")
    after = read_bundle(folder / "updated")
    assert after.upkeep is not None
    assert_same_layers(after.bank.layers, before.bank.layers)
    bank, looked = before.bank, look_at_all("", find_pictures(folder / "abnormal"), RECIPE, ColourEngine(), silent)
    distances = [bank.layers[0].distances(layer_patches(looked.grids, by_place), "place")]
    expected = picture_scores(distances, bank.recipe, bank.calibration.layers)
    assert (expected > before.bank.threshold).mean() > 0.5
    found = anomaly_scores(after.upkeep, after.bank.layers, bank.recipe, bank.calibration.layers)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def assert_same_layers(layers: Sequence[LayerMemory], others: Sequence[LayerMemory]) -> None:
    for layer, other in zip(layers, others, strict=True):
        assert isinstance(layer, PlaceMemory)
        assert isinstance(other, PlaceMemory)
        assert np.array_equal(layer.mean, other.mean)
        assert np.array_equal(layer.deviation, other.deviation)


def test_of_thresholds_as_good_one_is_taken_that_loses_no_known_defect(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A false reject that was added still scores a little above the weakest defect: one of them is judged wrongly."""
    was = read_bundle(folder / "bundle").bank.threshold

    def close(*arguments: Any, **options: Any) -> Grown:
        grown = grow(*arguments, **options)
        scores = np.linspace(was - 3, was - 2, len(grown.scores), dtype=np.float32)
        scores[-2:] = was - 0.4, was
        defects = np.full(len(grown.defects), was + 5, np.float32)
        defects[0] = was - 0.2
        return replace(grown, scores=scores, defects=defects)

    for seed in range(8):
        draw(folder / "more" / f"{seed}.png", 5000 + seed)
    monkeypatch.setattr("services.trainer.update.grow", close)
    manifest = update(bundle=folder / "bundle", normal=folder / "more", out=folder / "updated")
    assert was - 0.5 < manifest.threshold < was - 0.2
    assert not manifest.training["lost_defects"]
