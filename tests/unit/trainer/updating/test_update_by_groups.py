from dataclasses import replace
from pathlib import Path

import pytest

from services.trainer.errors import (
    PromiseRefused,
    StrangePictures,
    UnusableGroups,
)
from services.trainer.promise.thresholds import Asked
from services.trainer.train import train
from services.trainer.update import update
from shared.bank.bundle import make_bundle
from shared.bank.bundle_folder import read_bundle, write_bundle
from tests.unit.trainer.conftest import RECIPE, draw
from tests.unit.trainer.updating.conftest import SPOTS, rejected


def test_a_bundle_calibrated_by_groups_is_updated_by_groups(folder: Path) -> None:
    table, more = folder / "groups.csv", folder / "more.csv"
    table.write_text("file,group\n" + "".join(f"{seed:02}.png,tray{seed // 8}\n" for seed in range(40)))
    more.write_text("file,group\n" + "".join(f"{seed}.png,tray{4 + seed // 4}\n" for seed in range(8)))
    train(product="plate", normal=folder / "normal", out=folder / "bundle", recipe=RECIPE, groups=table)
    with pytest.raises(UnusableGroups, match="give --groups for the new pictures too"):
        update(bundle=folder / "bundle", normal=folder / "stamped", out=folder / "updated")
    manifest = update(bundle=folder / "bundle", normal=folder / "stamped", out=folder / "updated", groups=more)
    assert manifest.training["groups"] == 6  # tray4 is the tray4 of before
    assert manifest.calibration.promise.groups == 6


def by_trays(folder: Path, name: str, trays: dict[str, int]) -> Path:
    """A table of groups: each picture's tray by its number."""
    table = folder / name
    table.write_text("file,group\n" + "".join(f"{file},tray{tray}\n" for file, tray in trays.items()))
    return table


def test_pictures_of_known_groups_are_learnt_and_promise_nothing(folder: Path) -> None:
    table = by_trays(folder, "groups.csv", {f"{seed:02}.png": seed // 4 for seed in range(40)})
    more = by_trays(folder, "more.csv", {f"{seed}.png": seed // 4 if seed < 6 else 10 for seed in range(8)})
    train(product="plate", normal=folder / "normal", out=folder / "bundle", recipe=RECIPE, groups=table)
    before, options = read_bundle(folder / "bundle"), {"out": folder / "updated", "groups": more}
    manifest = update(bundle=folder / "bundle", normal=folder / "stamped", **options)
    after = read_bundle(folder / "updated")
    assert before.upkeep is not None
    assert after.upkeep is not None
    for promise in (manifest.calibration.promise, manifest.calibration.mask_promise):
        assert promise is not None
        assert (promise.pictures, promise.groups) == (42, 11)
    assert after.upkeep.groups == (*(before.upkeep.groups or ()), "tray10", "tray10")
    assert after.upkeep.scores[:40].tolist() == before.upkeep.scores.tolist()
    assert len(after.upkeep.peaks) == 42
    assert (manifest.training["normals"], manifest.training["added"], manifest.training["groups"]) == (48, 8, 11)
    assert "6 of 8 new pictures are of groups that the bundle knows, for instance 0.png of tray0" in str(
        manifest.training["warnings"]
    )
    assert rejected(folder / "updated", folder / "later") == (0, None)


def test_more_pictures_of_the_same_groups_make_no_promise_stronger(folder: Path) -> None:
    table = by_trays(folder, "groups.csv", {f"{seed:02}.png": seed // 4 for seed in range(40)})
    more = by_trays(folder, "more.csv", {f"{seed}.png": seed // 4 for seed in range(8)})
    asked = Asked(false_reject_rate=0.2, best_effort=True)
    train(product="plate", normal=folder / "normal", out=folder / "bundle", recipe=RECIPE, groups=table, asked=asked)
    before = read_bundle(folder / "bundle").bank
    manifest = update(bundle=folder / "bundle", normal=folder / "stamped", out=folder / "updated", groups=more)
    assert (manifest.threshold, manifest.calibration.promise) == (before.threshold, before.calibration.promise)


def test_odd_pictures_are_refused_in_known_groups_too(folder: Path) -> None:
    table = by_trays(folder, "groups.csv", {f"{seed:02}.png": seed // 4 for seed in range(40)})
    more = by_trays(folder, "more.csv", {f"{index}.png": 0 for index in range(8)})
    train(product="plate", normal=folder / "normal", out=folder / "bundle", recipe=RECIPE, groups=table)
    for index, spot in enumerate(SPOTS):
        draw(folder / "slipped" / f"{index}.png", 5000 + index, defect=spot)
    with pytest.raises(StrangePictures, match=r"would rise from -?[\d.]+ to [\d.]+ if all counted"):
        update(bundle=folder / "bundle", normal=folder / "slipped", out=folder / "updated", groups=more)


def grouped_bundle(folder: Path, asked: Asked) -> dict[str, Path]:
    """A bundle whose 8 defects are of 2 parts; and what an update of it takes."""
    table, more = folder / "groups.csv", folder / "more.csv"
    defects = "".join(f"blot/{index}.png,part{index // 4}\n" for index in range(8))
    table.write_text("file,group\n" + "".join(f"{seed:02}.png,tray{seed // 4}\n" for seed in range(40)) + defects)
    more.write_text("file,group\n" + "".join(f"{seed}.png,tray{10 + seed // 4}\n" for seed in range(8)))
    places = {"normal": folder / "normal", "abnormal": folder / "abnormal", "out": folder / "bundle", "groups": table}
    train(product="plate", recipe=RECIPE, asked=asked, **places)
    return {"bundle": folder / "bundle", "normal": folder / "stamped", "out": folder / "updated", "groups": more}


def test_defects_of_few_parts_promise_no_more_after_an_update_than_before(folder: Path) -> None:
    asked = Asked(max_escape_rate=0.35, best_effort=True)  # 8 defects that stood for themselves could promise it
    options = grouped_bundle(folder, asked)
    before = read_bundle(folder / "bundle").bank.calibration.escape_promise
    after = update(**options).calibration.escape_promise
    assert before is not None
    assert after is not None
    assert (before.groups, before.kept) == (after.groups, after.kept) == (2, False)
    again = update(**options | {"bundle": folder / "updated", "normal": folder / "later"}).calibration.escape_promise
    assert again is not None
    assert (again.groups, again.kept) == (2, False)


def test_without_the_groups_of_its_defects_a_bundle_promises_nothing_of_escapes(folder: Path) -> None:
    options = grouped_bundle(folder, Asked())
    bundle = read_bundle(folder / "bundle")
    assert bundle.upkeep is not None
    figures = replace(bundle.upkeep.figures, defect_groups=None)
    training = dict(bundle.manifest.training)
    old = make_bundle(
        bundle.bank, weights_sha256="0" * 64, training=training, upkeep=replace(bundle.upkeep, figures=figures)
    )
    write_bundle(folder / "bundle", old)
    for best_effort in (False, True):
        asked = Asked(max_escape_rate=0.9, best_effort=best_effort)
        with pytest.raises(PromiseRefused, match="does not remember those of its defects"):
            update(**options, asked=asked)
    assert update(**options).calibration.escape_promise is None
