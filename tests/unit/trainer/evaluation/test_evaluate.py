import csv
import json
from pathlib import Path

import pytest

from services.trainer.errors import AmbiguousPictures, NoPictures, StaleBundle, TrainingError, UnwritableOutput
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
