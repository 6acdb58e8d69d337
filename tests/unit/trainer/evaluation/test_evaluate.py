import csv
import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from services.trainer.errors import (
    AmbiguousPictures,
    NoPictures,
    StaleBundle,
    TrainingError,
    UnusableMasks,
    UnwritableOutput,
)
from services.trainer.evaluation.evaluate import evaluate
from services.trainer.train import train
from tests.unit.trainer.conftest import RECIPE, draw, draw_mask

DEFECTS = [(10, 20), (60, 90), (40, 50)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle, and pictures whose truth is known."""
    for seed in range(30):
        draw(tmp_path / "train" / f"{seed:02}.png", seed)
    for seed in range(8):
        draw(tmp_path / "normal" / f"{seed}.png", 1000 + seed)
    for index, defect in enumerate(DEFECTS):
        kind = "blot" if index else "smear"
        draw(tmp_path / "abnormal" / kind / f"{index}.png", 2000 + index, defect=defect)
        draw_mask(tmp_path / "masks" / kind / f"{index}.bmp", defect)
    train(product="plate", normal=tmp_path / "train", out=tmp_path / "bundle", recipe=RECIPE)
    return tmp_path


def test_what_is_easy_is_judged_right(folder: Path) -> None:
    figures = evaluate(
        bundle=folder / "bundle",
        normal=folder / "normal",
        abnormal=folder / "abnormal",
        masks=folder / "masks",
    )
    assert figures["image_auroc"] == figures["recall"] == 1
    assert figures["escape_rate"] == 0
    assert figures["images"] == 11
    assert figures["pixel_auroc"] > 0.97
    assert figures["au_pro"] > 0.85
    assert figures["recall_by_kind"] == {"blot": 1.0, "smear": 1.0}
    assert figures["recipe"] == RECIPE.to_json()
    assert figures["promised_false_reject_rate"] > 0.01  # 30 normals cannot promise what is tried for
    assert figures["confidence"] == 0.95
    assert figures["ci95"]["recall"] == pytest.approx((0.2924, 1.0), abs=1e-4)  # three of three
    assert figures["images_per_second"] > 0
    json.dumps(figures)


def test_without_abnormals_or_masks_figures_that_need_them_are_null(folder: Path) -> None:
    figures = evaluate(bundle=folder / "bundle", normal=folder / "normal")
    for name in ("image_auroc", "recall", "escape_rate", "pixel_auroc", "au_pro"):
        assert figures[name] is None
    assert figures["false_reject_rate"] is not None
    figures = evaluate(bundle=folder / "bundle", normal=folder / "normal", abnormal=folder / "abnormal")
    assert (figures["image_auroc"], figures["au_pro"]) == (1, None)


def test_a_promise_that_does_not_hold_here_is_told(folder: Path) -> None:
    kept = evaluate(bundle=folder / "bundle", normal=folder / "train")
    broken = evaluate(bundle=folder / "bundle", normal=folder / "abnormal")
    assert kept["broken_promises"] == []
    (sentence,) = broken["broken_promises"]
    assert "100.000% of the good pictures are rejected" in sentence
    assert "more than chance explains" in sentence


def test_a_defect_without_a_mask_counts_in_no_pixel_figure(folder: Path) -> None:
    (folder / "masks" / "smear" / "0.bmp").unlink()
    figures = evaluate(
        bundle=folder / "bundle", normal=folder / "normal", abnormal=folder / "abnormal", masks=folder / "masks"
    )
    assert figures["masks"] == 2
    assert figures["pixel_auroc"] > 0.97


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_scores_are_written_picture_by_picture(folder: Path, suffix: str) -> None:
    (folder / "abnormal" / "blot" / "broken.png").write_bytes(b"no picture")
    path = folder / f"scores{suffix}"
    evaluate(bundle=folder / "bundle", normal=folder / "normal", abnormal=folder / "abnormal", scores=path)
    with path.open(newline="") as lines:
        rows = list(csv.DictReader(lines)) if suffix == ".csv" else [json.loads(line) for line in lines]
    assert len(rows) == 12
    verdicts = {row["file"]: row["verdict"] for row in rows}
    assert verdicts["blot/1.png"] == "REJECT"
    assert verdicts["blot/broken.png"] == "UNINSPECTED"
    assert float(rows[0]["score"]) < float(next(row["score"] for row in rows if row["file"] == "blot/1.png"))


def test_what_no_system_gives_and_names_that_are_no_utf8_stop_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(folder / "b.png", 1100)
    (folder / "b.png").rename(folder / "normal" / os.fsdecode(b"b\xff.png"))
    draw(folder / "normal" / "denied.png", 1101)
    read = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "denied.png":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    figures = evaluate(
        bundle=folder / "bundle", normal=folder / "normal", scores=folder / "scores.csv", report=folder / "report"
    )
    assert figures["unreadable"] == ["denied.png"]
    rows = (folder / "scores.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 11
    assert any(row.startswith("b\\udcff.png,normal,") for row in rows)
    page = (folder / "report" / "index.html").read_text(encoding="utf-8")
    assert "the file denied.png cannot be read (Permission denied)" in page


def test_masks_that_do_not_fit_are_warned_of(folder: Path) -> None:
    places = {name: folder / name for name in ("bundle", "normal", "abnormal", "masks")}
    assert evaluate(**places)["warnings"] == []
    (folder / "masks" / "smear" / "0.bmp").unlink()
    cv2.imwrite(str(folder / "masks" / "blot" / "1.bmp"), np.zeros((96, 128), np.uint8))
    cv2.imwrite(str(folder / "masks" / "blot" / "2.bmp"), np.full((128, 96), 255, np.uint8))
    without, empty, stretched = evaluate(**places, report=folder / "report")["warnings"]
    assert without.startswith(
        "1 of 3 defective pictures have no mask and count in no figure over pixels, for instance s"
    )
    assert "have a mask that shows no defect, and count in figures over pixels as if they were good, for inst" in empty
    assert "have a mask of another ratio of width to height, which was stretched, for instance blot/2.png" in stretched
    page = (folder / "report" / "index.html").read_text()
    assert "masks of 2 defective pictures, and all good ones" in page
    assert "have no mask and count in no figure over pixels" in page


def test_a_mask_that_cannot_be_read_is_refused_before_the_work(folder: Path) -> None:
    told: list[str] = []
    (folder / "masks" / "blot" / "1.bmp").write_bytes(b"no picture")
    places = {name: folder / name for name in ("bundle", "normal", "abnormal", "masks")}
    with pytest.raises(UnusableMasks, match=r"1\.bmp cannot be decoded"):
        evaluate(**places, progress=lambda stage, *_: told.append(stage))
    assert told == []


def test_a_copy_of_a_picture_counts_once_and_is_told(folder: Path) -> None:
    once = evaluate(bundle=folder / "bundle", normal=folder / "normal", abnormal=folder / "abnormal")
    for number in range(20):
        draw(folder / "normal" / f"again{number}.png", 1003)
        draw(folder / "abnormal" / "smear" / f"again{number}.png", 2000, defect=DEFECTS[0])
    places = {name: folder / name for name in ("bundle", "normal", "abnormal")}
    figures = evaluate(**places, scores=folder / "scores.csv", report=folder / "report")
    assert (figures["normal_images"], figures["abnormal_images"]) == (8, 3)
    assert figures["ci95"] == once["ci95"]
    assert len((folder / "scores.csv").read_text().splitlines()) == 1 + 11
    good, defective = figures["warnings"]
    assert good.startswith("20 pictures are copies of others, for instance again0.png of 3.png, and were left out")
    assert defective.startswith("20 pictures are copies of others, for instance smear/again0.png of smear/0.png")
    assert "20 pictures are copies of others" in (folder / "report" / "index.html").read_text()


def test_pictures_that_the_bundle_has_learnt_from_are_told(folder: Path) -> None:
    for seed in range(4):
        draw(folder / "normal" / f"known{seed}.png", seed)
    (warning,) = evaluate(bundle=folder / "bundle", normal=folder / "normal")["warnings"]
    assert warning.startswith("4 of 12 pictures are among those that the bundle has learnt from, for instance known0")


def test_groups_that_the_bundle_has_learnt_from_are_told(folder: Path) -> None:
    table, trained = folder / "groups.csv", folder / "trained.csv"
    table.write_text("file,group\n" + "".join(f"{seed}.png,tray{seed // 2}\n" for seed in range(8)))
    trained.write_text("file,group\n" + "".join(f"{seed:02}.png,tray{3 + seed // 3}\n" for seed in range(30)))
    options: dict[str, Any] = {"bundle": folder / "bundle", "normal": folder / "normal", "groups": table}
    options["report"] = folder / "report"
    page = folder / "report" / "index.html"
    assert evaluate(**options)["warnings"] == []
    assert "whether some judged here were trained on cannot be told" in page.read_text()
    train(product="plate", normal=folder / "train", out=folder / "bundle", recipe=RECIPE, groups=trained)
    (warning,) = evaluate(**options)["warnings"]
    assert warning.startswith("1 of 4 groups have names of groups that the bundle has learnt from, for instance tray3:")
    assert "are warned of" in page.read_text()
    assert "for instance tray3" in page.read_text()
    (without,) = evaluate(**options | {"groups": None})["warnings"]
    assert without.startswith("the bundle was made by groups, and intervals count each picture for itself")


@pytest.mark.parametrize("beside", ["0_mask.png", "0.png"])
def test_masks_among_the_pictures_are_not_judged_as_defects(folder: Path, beside: str) -> None:
    places = {name: folder / name for name in ("bundle", "normal", "abnormal")}
    draw_mask(folder / "abnormal" / "masks" / "smear" / beside, DEFECTS[0])
    with pytest.raises(UnusableMasks, match=r"1 masks lie among the defective pictures .* for instance .*masks/smear"):
        evaluate(**places, masks=folder / "abnormal" / "masks")


def test_many_files_that_cannot_be_inspected_are_counted(folder: Path) -> None:
    for number in range(5):
        (folder / "normal" / f"x{number}.png").write_bytes(b"no picture" + bytes([number]))
    (warning,) = evaluate(bundle=folder / "bundle", normal=folder / "normal", report=folder / "report")["warnings"]
    assert "x2.png: " in warning
    assert warning.endswith("; and 2 more")
    assert "x4.png" in (folder / "report" / "index.html").read_text()


def test_arguments_that_cannot_work_are_refused_before_the_work(folder: Path) -> None:
    with pytest.raises(TrainingError, match="give --abnormal"):
        evaluate(bundle=folder / "bundle", normal=folder / "normal", masks=folder / "masks")
    with pytest.raises(TrainingError, match=r"\.csv or \.jsonl"):
        evaluate(bundle=folder / "bundle", normal=folder / "normal", scores=folder / "scores.xlsx")


def test_a_bundle_of_another_feature_space_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.trainer.evaluation.evaluate.backbone_weights_sha256", lambda name: "1" * 64)
    with pytest.raises(StaleBundle, match="train it again"):
        evaluate(bundle=folder / "bundle", normal=folder / "normal")


def test_folders_that_overlap_or_share_a_picture_are_refused(folder: Path) -> None:
    with pytest.raises(AmbiguousPictures, match="same folder"):
        evaluate(bundle=folder / "bundle", normal=folder / "normal", abnormal=folder / "normal")
    with pytest.raises(AmbiguousPictures, match="lies below --abnormal"):
        evaluate(bundle=folder / "bundle", normal=folder / "abnormal" / "blot", abnormal=folder / "abnormal")
    draw(folder / "abnormal" / "blot" / "good.png", 1003)
    with pytest.raises(AmbiguousPictures, match=r"normal/3.png, which is the same as .*blot/good.png"):
        evaluate(bundle=folder / "bundle", normal=folder / "normal", abnormal=folder / "abnormal")


def test_a_test_set_with_its_good_pictures_is_not_judged_as_defective(folder: Path) -> None:
    draw(folder / "abnormal" / "good" / "0.png", 1005)
    with pytest.raises(AmbiguousPictures, match="has a folder 'good'"):
        evaluate(bundle=folder / "bundle", normal=folder / "normal", abnormal=folder / "abnormal")


def test_swapped_folders_are_told_beside_the_broken_promise(folder: Path) -> None:
    right = evaluate(bundle=folder / "bundle", normal=folder / "normal", abnormal=folder / "abnormal")
    wrong = evaluate(bundle=folder / "bundle", normal=folder / "abnormal", abnormal=folder / "normal")
    assert right["warnings"] == []
    assert "are the folders swapped" in wrong["warnings"][0]
    assert len(wrong["broken_promises"]) == 1


def test_what_cannot_be_inspected_is_named_and_nothing_else_is_no_evaluation(folder: Path) -> None:
    (folder / "normal" / "broken.png").write_bytes(b"no picture")
    figures = evaluate(bundle=folder / "bundle", normal=folder / "normal")
    assert figures["unreadable"] == ["broken.png"]
    assert figures["warnings"][0].startswith("1 files could not be inspected and count in no figure, the line would")
    assert "broken.png: " in figures["warnings"][0]
    (folder / "nothing").mkdir()
    (folder / "nothing" / "x.png").write_bytes(b"none either")
    for folders in (("nothing", "abnormal"), ("normal", "nothing")):
        with pytest.raises(NoPictures, match=r"not one of 1 pictures in .*nothing can be read, x.png for instance: "):
            evaluate(bundle=folder / "bundle", normal=folder / folders[0], abnormal=folder / folders[1])


def test_places_that_cannot_be_written_to_are_refused_before_the_work(folder: Path) -> None:
    told: list[str] = []
    for report, scores in ((Path("/proc/foo"), None), (None, folder / "none" / "s.csv")):
        with pytest.raises(UnwritableOutput):
            evaluate(
                bundle=folder / "bundle",
                normal=folder / "normal",
                report=report,
                scores=scores,
                progress=lambda stage, *_: told.append(stage),
            )
    assert told == []
