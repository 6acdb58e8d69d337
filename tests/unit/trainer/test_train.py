import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from services.trainer.errors import (
    AmbiguousPictures,
    NoPictures,
    PromiseRefused,
    TooFewNormals,
    TrainingError,
    UnusableGroups,
    UnusableMasks,
    UnusableProduct,
)
from services.trainer.known_defects.patch_head import PatchTrial, try_patch_head
from services.trainer.known_defects.places import DEFECTIVE, SOUND, UNTOLD, Places
from services.trainer.material.pictures import PictureFile
from services.trainer.promise.thresholds import Asked
from services.trainer.recipe.search import Found
from services.trainer.train import train
from shared.bank.bundle_folder import read_bundle
from shared.bank.errors import UnwritableBundle
from shared.bank.manifest import Manifest
from tests.unit.trainer.conftest import RECIPE, draw, draw_mask


@pytest.fixture
def normal(tmp_path: Path) -> Path:
    for seed in range(24):
        draw(tmp_path / "normal" / f"tray{seed % 3}" / f"{seed:02}.png", seed)
    return tmp_path / "normal"


def learn(normal: Path, out: Path, **options: object) -> Manifest:
    return train(product="plate", normal=normal, out=out, recipe=RECIPE, **options)  # type: ignore[arg-type]


def test_a_bundle_can_be_read_again_and_holds_what_was_learnt(normal: Path, tmp_path: Path) -> None:
    manifest = learn(normal, tmp_path / "bundle")
    bundle = read_bundle(tmp_path / "bundle")
    assert bundle.manifest.version == manifest.version == bundle.bank.version
    assert bundle.bank.product == "plate"
    assert len(bundle.bank.layers[0].values) == min(2000, 24 * 64)
    assert manifest.training["normals"] == 24
    assert manifest.training["split"] == "random"


def test_a_bank_lives_in_a_space_of_the_precision_it_was_made_in(normal: Path, tmp_path: Path) -> None:
    as_given = learn(normal, tmp_path / "as-given")
    other = learn(normal, tmp_path / "other", precision="bf16")
    assert (as_given.recipe.precision, other.recipe.precision) == ("f32", "bf16")
    assert as_given.feature_space != other.feature_space


def test_few_normals_are_warned_of_with_the_rate_that_can_be_promised(tmp_path: Path) -> None:
    for seed in range(2):
        draw(tmp_path / "normal" / f"{seed}.png", seed)
    manifest = learn(tmp_path / "normal", tmp_path / "bundle")
    warnings = json.dumps(manifest.training["warnings"])
    assert "2 good pictures are too few to promise a false-reject rate of 1.000%" in warnings
    assert "give 20 at least" in warnings
    assert np.isfinite([manifest.threshold, manifest.mask_threshold]).all()
    assert not manifest.calibration.promise.kept


def test_one_picture_in_two_formats_makes_no_degenerate_bank(tmp_path: Path) -> None:
    for name in ("a.png", "b.bmp"):
        draw(tmp_path / "normal" / name, 0)
    manifest = learn(tmp_path / "normal", tmp_path / "bundle")
    assert manifest.calibration.layers[0].patch.std > 0
    assert manifest.calibration.map_level > 0
    assert np.isfinite(manifest.threshold)


def test_a_normal_is_never_above_the_threshold_it_helped_to_set_when_few(tmp_path: Path) -> None:
    from services.trainer.evaluation.evaluate import evaluate

    for seed in range(5):
        draw(tmp_path / "normal" / f"{seed}.png", seed)
    learn(tmp_path / "normal", tmp_path / "bundle")
    assert evaluate(bundle=tmp_path / "bundle", normal=tmp_path / "normal")["false_reject_rate"] == 0


def test_one_picture_is_a_clear_error(tmp_path: Path) -> None:
    draw(tmp_path / "normal" / "only.png", 0)
    with pytest.raises(TooFewNormals, match=r"1 good picture\(s\).*needs two at least"):
        learn(tmp_path / "normal", tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_files_that_are_no_pictures_are_left_out_and_named(normal: Path, tmp_path: Path) -> None:
    (normal / "broken.png").write_bytes(b"not a picture")
    manifest = learn(normal, tmp_path / "bundle")
    assert manifest.training["normals"] == 24
    assert manifest.training["unreadable"] == ["broken.png"]
    assert any("broken.png" in str(warning) for warning in manifest.training["warnings"])  # type: ignore[union-attr]


def test_a_search_is_told_all_that_was_asked_for(normal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(tmp_path / "abnormal" / "x.png", 50, defect=(30, 40))
    table = tmp_path / "groups.csv"
    table.write_text("file,group\n" + "".join(f"{seed:02}.png,part{seed // 2}\n" for seed in range(24)))
    told: dict[str, Any] = {}

    def search(_: Sequence[PictureFile], **options: Any) -> Found:
        told.update(options)
        return Found(RECIPE, {"tried": []})

    monkeypatch.setattr("services.trainer.train.search_recipe", search)
    options: dict[str, Any] = {"groups": table, "max_ms": 40.0, "precision": "bf16", "seed": 7}
    manifest = train(product="plate", normal=normal, abnormal=tmp_path / "abnormal", out=tmp_path / "bundle", **options)
    assert [file.name for file in told.pop("abnormals")] == ["x.png"]
    assert len(set(told.pop("groups"))) == 12
    assert callable(told.pop("progress"))
    assert told == {"max_ms": 40.0, "engine": "openvino", "precision": "bf16", "seed": 7}
    assert manifest.training["recipe_search"] == {"tried": []}


def test_a_place_that_cannot_be_written_to_is_refused_before_the_work(normal: Path) -> None:
    told: list[str] = []
    with pytest.raises(UnwritableBundle):
        learn(normal, Path("/proc/foo"), progress=lambda stage, *_: told.append(stage))
    assert told == []


def test_a_recipe_is_searched_with_readable_pictures_alone(
    normal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def search(files: Sequence[PictureFile], **_: object) -> Found:
        seen.extend(file.name for file in files)
        return Found(RECIPE, {})

    monkeypatch.setattr("services.trainer.train.search_recipe", search)
    (normal / "00-broken.png").write_bytes(b"not a picture")
    manifest = train(product="plate", normal=normal, out=tmp_path / "bundle")
    assert len(seen) == 24
    assert "00-broken.png" not in seen
    assert manifest.training["unreadable"] == ["00-broken.png"]


def test_a_normal_unlike_all_others_is_named(normal: Path, tmp_path: Path) -> None:
    as_is = learn(normal, tmp_path / "as-is")
    assert not any("unlike all others" in str(warning) for warning in as_is.training["warnings"])  # type: ignore[union-attr]  # plain JSON
    draw(normal / "slipped-in.png", 99, defect=(30, 40))
    warnings = learn(normal, tmp_path / "bundle").training["warnings"]
    assert any("unlike all others, foremost slipped-in.png" in str(warning) for warning in warnings)  # type: ignore[union-attr]  # likewise


def test_a_folder_of_nothing_readable_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "normal").mkdir()
    (tmp_path / "normal" / "broken.png").write_bytes(b"")
    with pytest.raises(NoPictures, match=r"not one of 1 pictures.*the image is empty"):
        train(product="plate", normal=tmp_path / "normal", out=tmp_path / "bundle")


def test_groups_are_held_out_together_and_named_in_the_bundle(normal: Path, tmp_path: Path) -> None:
    table = tmp_path / "groups.csv"
    rows = [f"{seed:02}.png,{seed % 4}" for seed in range(24)]
    table.write_text("\n".join(["file,group", *rows]))
    training = learn(normal, tmp_path / "bundle", groups=table).training
    assert (training["split"], training["groups"], training["folds"]) == ("grouped", 4, 4)


def test_a_table_of_groups_beside_the_pictures_is_not_read_unasked(normal: Path, tmp_path: Path) -> None:
    (normal / "groups.csv").write_text("nonsense")
    assert learn(normal, tmp_path / "bundle").training["groups"] is None


def test_groups_that_leave_a_picture_out_are_refused(normal: Path, tmp_path: Path) -> None:
    table = tmp_path / "groups.csv"
    table.write_text("file,group\n00.png,1\n")
    with pytest.raises(UnusableGroups, match="23 of 24"):
        learn(normal, tmp_path / "bundle", groups=table)


def test_defects_that_are_numbered_in_a_folder_of_their_own_are_not_all_of_the_first_group(
    normal: Path, tmp_path: Path
) -> None:
    table = tmp_path / "groups.csv"
    table.write_text(
        "file,group\n" + "".join(f"{path.name},part{int(path.stem) // 12}\n" for path in normal.glob("*/*"))
    )
    random = np.random.default_rng(0)
    for number in range(8):
        corner = int(random.integers(70)), int(random.integers(100))
        draw(tmp_path / "abnormal" / "blot" / f"{number:02}.png", 100 + number, defect=corner)
    head: dict[str, object] = dict(
        learn(normal, tmp_path / "bundle", groups=table, abnormal=tmp_path / "abnormal").training["head"]  # type: ignore[arg-type]  # plain JSON
    )
    assert head.get("why") is None  # "defects of fewer than 3 parts"
    assert "by_patches" in head


def test_the_same_seed_learns_the_same_and_one_abnormal_teaches_nothing(normal: Path, tmp_path: Path) -> None:
    draw(tmp_path / "abnormal" / "blot" / "x.png", 100, defect=(30, 40))
    first = learn(normal, tmp_path / "first")
    second = learn(normal, tmp_path / "second", abnormal=tmp_path / "abnormal")
    assert first.threshold == second.threshold  # it takes the most deviating normal in both cases
    banks = [[entry.sha256 for entry in each.arrays if entry.file.startswith("layer")] for each in (first, second)]
    assert banks[0] == banks[1]
    assert second.training["on_abnormals"] == {"image_auroc": 1.0, "escape_rate": 0.0}


def test_progress_of_every_stage_ends_at_its_total(normal: Path, tmp_path: Path) -> None:
    told: dict[str, tuple[int, int]] = {}
    learn(normal, tmp_path / "bundle", progress=lambda stage, done, total: told.update({stage: (done, total)}))
    assert told == {"reading pictures": (24, 24), "good pictures": (24, 24), "calibrating": (10, 10)}


def told(manifest: Manifest) -> str:
    """All warnings."""
    return json.dumps(manifest.training["warnings"])


def test_copies_are_left_out_and_no_promise_rests_on_them(normal: Path, tmp_path: Path) -> None:
    alone = learn(normal, tmp_path / "alone")
    for seed in range(24):
        draw(normal / "again" / f"x{seed:02}.png", seed)
    copied = learn(normal, tmp_path / "copied")
    assert copied.calibration.promise.pictures == 24
    assert copied.calibration.promise == alone.calibration.promise
    assert (copied.training["normals"], copied.training["copies"]) == (24, 24)
    assert "24 pictures are copies of others, for instance tray0/00.png of again/x00.png" in told(copied)
    assert "copies" not in told(alone)


def test_copies_of_one_picture_are_said_to_be(tmp_path: Path) -> None:
    for number in range(20):
        draw(tmp_path / "normal" / f"{number:02}.png", 0)
    with pytest.raises(TooFewNormals, match=r"all 20 pictures in .* are copies of one, 00\.png"):
        learn(tmp_path / "normal", tmp_path / "bundle")


def test_names_that_are_no_utf8_and_files_that_cannot_be_read_stop_no_training(
    normal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(tmp_path / "b.png", 100)
    (tmp_path / "b.png").rename(normal / os.fsdecode(b"b\xff.png"))
    (normal / os.fsdecode(b"broken\xff.png")).write_bytes(b"no picture")
    draw(normal / "denied.png", 101)
    read = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "denied.png":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    manifest = learn(normal, tmp_path / "bundle")
    assert manifest.training["normals"] == 25
    assert manifest.training["unreadable"] == ["broken\\udcff.png", "denied.png"]


def test_a_copy_in_another_group_is_in_none(normal: Path, tmp_path: Path) -> None:
    draw(normal / "z-again.png", 0)
    table = tmp_path / "groups.csv"
    table.write_text(
        "\n".join(["file,group", "z-again.png,elsewhere", *(f"{seed:02}.png,{seed % 4}" for seed in range(24))])
    )
    assert learn(normal, tmp_path / "bundle", groups=table).training["groups"] == 4


def test_folders_that_overlap_are_refused_before_any_picture_is_read(normal: Path, tmp_path: Path) -> None:
    told: list[str] = []
    for folders in ((normal, normal), (normal, normal / "tray0"), (normal / "tray0", normal)):
        with pytest.raises(AmbiguousPictures, match=r"same folder|lies below"):
            learn(folders[0], tmp_path / "bundle", abnormal=folders[1], progress=lambda stage, *_: told.append(stage))
    assert told == []


@pytest.mark.parametrize("name", ["good", "Normal", "OK"])
def test_a_test_set_with_its_good_pictures_is_not_taken_for_defects(normal: Path, tmp_path: Path, name: str) -> None:
    draw(tmp_path / "test" / "blot" / "x.png", 100, defect=(30, 40))
    draw(tmp_path / "test" / name / "y.png", 101)
    with pytest.raises(AmbiguousPictures, match=f"has a folder '{name}', whose pictures would count as defective"):
        learn(normal, tmp_path / "bundle", abnormal=tmp_path / "test")


def test_a_picture_that_is_given_as_good_and_as_defective_is_refused_by_name(normal: Path, tmp_path: Path) -> None:
    draw(tmp_path / "abnormal" / "blot" / "x.png", 100, defect=(30, 40))
    draw(tmp_path / "abnormal" / "blot" / "good.png", 5)
    with pytest.raises(AmbiguousPictures, match=r"1 picture.*tray2/05.png, which is the same as .*blot/good.png"):
        learn(normal, tmp_path / "bundle", abnormal=tmp_path / "abnormal")


def test_mixed_up_folders_are_doubted(normal: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for seed in range(24):
        spot = (int(random.integers(70)), int(random.integers(100)))
        draw(tmp_path / "defects" / f"{seed}.png", 500 + seed, defect=spot)
    assert "mixed up?" in told(learn(tmp_path / "defects", tmp_path / "wrong", abnormal=normal))
    assert "mixed up?" not in told(learn(normal, tmp_path / "right", abnormal=tmp_path / "defects"))


def test_options_that_cannot_work_are_refused_before_any_picture_is_read(normal: Path, tmp_path: Path) -> None:
    told: list[str] = []
    (tmp_path / "empty").mkdir()
    for product in ("", "two\nlines", "x" * 201, "space ", "zero\u200bwidth"):
        with pytest.raises(UnusableProduct, match="--product"):
            train(product=product, normal=normal, out=tmp_path / "bundle", recipe=RECIPE)
    refused: list[tuple[dict[str, object], type[TrainingError], str]] = [
        ({"asked": Asked(max_escape_rate=0.1, best_effort=True)}, PromiseRefused, r"--max-escape-rate 0.1.*--abnormal"),
        ({"abnormal": tmp_path / "empty"}, NoPictures, "empty has no picture"),
        ({"masks": tmp_path / "empty"}, UnusableMasks, "give --abnormal"),
    ]
    for options, error, message in refused:
        with pytest.raises(error, match=message):
            learn(normal, tmp_path / "bundle", progress=lambda stage, *_: told.append(stage), **options)
    assert told == []


def test_defects_none_of_which_can_be_read_are_a_clear_error(normal: Path, tmp_path: Path) -> None:
    (tmp_path / "abnormal").mkdir()
    (tmp_path / "abnormal" / "broken.png").write_bytes(b"no picture")
    with pytest.raises(NoPictures, match=r"not one of 1 pictures in .*abnormal can be read"):
        learn(normal, tmp_path / "bundle", abnormal=tmp_path / "abnormal")


def test_masks_say_where_the_defects_lie_that_they_are_named_after(
    normal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: list[NDArray[np.int8]] = []

    def spied(*args: Any, places: Places, **options: Any) -> PatchTrial:
        known.append(places(8)[24:])
        return try_patch_head(*args, places=places, **options)

    monkeypatch.setattr("services.trainer.known_defects.heads.try_patch_head", spied)
    corners = {"black": None, "first": (0, 0), "last": (76, 108), "none": None}  # in the order of their names
    for seed, (name, corner) in enumerate(corners.items()):
        draw(tmp_path / "abnormal" / "blot" / f"{name}.png", 100 + seed, defect=corner or (40, 40))
        if corner:
            draw_mask(tmp_path / "masks" / "blot" / f"{name}.png", corner)
    cv2.imwrite(str(tmp_path / "masks" / "blot" / "black.png"), np.zeros((96, 96), np.uint8))
    manifest = learn(normal, tmp_path / "bundle", abnormal=tmp_path / "abnormal", masks=tmp_path / "masks")
    expected = np.full((4, 8, 8), SOUND)
    expected[[0, 3]] = UNTOLD
    expected[1, :3, :3] = DEFECTIVE  # two patches each way, and those beside them
    expected[2, 5:, 5:] = DEFECTIVE
    np.testing.assert_array_equal(known[0], expected)
    assert manifest.training["masks"] == 2
    assert "1 of 4 defective pictures have no mask and teach that there is a defect, but not where" in told(manifest)
    assert "1 of 4 defective pictures have a mask that shows no defect, and teach" in told(manifest)
    assert "another ratio of width to height, which was stretched, for instance blot/black.png" in told(manifest)


def test_blank_frames_that_would_pass_are_warned_of(normal: Path, tmp_path: Path) -> None:
    assert "frame would pass" not in told(learn(normal, tmp_path / "bundle"))
