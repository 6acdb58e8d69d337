"""The study on rendered chips with the smallest budgets: that every row is filled, kept, shown and gone on with."""

import csv
import errno
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from services.cli.commands import app
from services.trainer.errors import TrainingError, UnwritableOutput
from services.trainer.evaluation.ablation import deep, features, study
from services.trainer.evaluation.ablation.dataset import Dataset, LeftOut
from services.trainer.evaluation.ablation.deep import Effort
from services.trainer.evaluation.ablation.report import Report
from services.trainer.evaluation.ablation.results import MEASURES
from services.trainer.evaluation.ablation.study import ablate
from services.trainer.material.pictures import PictureFile
from shared.vision.errors import UndecodableImage

FAST = ("classical", "detector")


@pytest.fixture(scope="session")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("study")


def run(chips: Path, out: Path, only: tuple[str, ...]) -> Report:
    return ablate(
        normal=[chips / "normal"],
        abnormal=chips / "abnormal",
        groups=chips / "groups.csv",
        out=out,
        only=only,
        splits=1,
    )


def test_every_row_is_filled_on_both_kinds_of_split(chips: Path, out: Path) -> None:
    report = run(chips, out, FAST)
    assert len(report.lines) == 2 * 12
    for line in report.lines:
        assert len(line.results) == 1
        assert all(0 <= line.mean(measure) <= 1 for measure in MEASURES)
        assert line.mean("parameters") > 2_000_000  # the backbone's among them
        assert line.mean("ms_per_image") > 0
        assert line.note


def test_a_grouped_split_that_leaves_one_group_to_train_on_is_measured(chips: Path, tmp_path: Path) -> None:
    halves = tmp_path / "halves.csv"
    halves.write_text("file,group\n" + "".join(f"shot_{at * 10}.png,day-{at // 10}\n" for at in range(20)))
    report = ablate(
        normal=[chips / "normal"],
        abnormal=chips / "abnormal",
        groups=halves,
        out=tmp_path / "study",
        only=("ours", "mahalanobis"),
        splits=1,
    )
    assert [line.kind for line in report.lines] == ["random", "grouped"] * 2


def test_what_is_kept_is_not_measured_again(chips: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(chips, out, FAST)
    (out / "results" / "padim" / "grouped-0.json").write_text('{"row": "padim", "cut sho')
    measured: list[str] = []

    class Counted(study.Detectors):
        def run(self, row, split):  # type: ignore[no-untyped-def]
            measured.append(f"{row} {split.name}")
            return super().run(row, split)

    monkeypatch.setattr(study, "Detectors", Counted)
    again = run(chips, out, FAST)
    assert measured == ["padim grouped-0"]
    assert [line.mean("auroc") for line in again.lines] == [line.mean("auroc") for line in first.lines]


def test_networks_are_trained_in_processes_of_their_own(
    chips: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "FULL", Effort(seconds=1, epochs=2, quick=True))
    lines = run(chips, out, ("small-cnn",)).lines
    assert [len(line.results) for line in lines] == [1, 1]
    assert "from scratch at 64 px" in lines[0].note
    assert "epochs" in lines[0].note


def test_a_network_that_fails_is_named_and_what_was_measured_is_kept(
    chips: Path, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deep, "_WORKER", "services.trainer.no_such_module")
    with pytest.raises(TrainingError, match=r"vgg16 could not be trained on random-0.*no_such_module.*run the study"):
        run(chips, out, ("vgg16", "lda"))
    assert (out / "results" / "lda" / "random-0.json").exists()


def test_the_command_shows_and_writes_the_table(chips: Path, out: Path) -> None:
    arguments = ["ablate", "--normal", chips / "normal", "--abnormal", chips / "abnormal", "--out", out]
    arguments += ["--groups", chips / "groups.csv", "--splits", "2", "--only", "lda", "--only", "padim"]
    shown = CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)
    assert shown.exit_code == 0, shown.stderr
    assert "Linear discriminant analysis" in shown.stdout
    assert "0.985" in shown.stdout  # the paper's own accuracy

    document = CliRunner().invoke(app, [str(each) for each in [*arguments, "--json"]], catch_exceptions=False)
    rows = json.loads(document.stdout)["rows"]
    assert [(row["row"], row["split"]) for row in rows] == [
        ("lda", "random"),
        ("lda", "grouped"),
        ("padim", "random"),
        ("padim", "grouped"),
    ]
    assert set(rows[0]["auroc"]) == {"mean", "sd"}
    with (out / "ablation.csv").open() as file:
        assert [line["row"] for line in csv.DictReader(file)] == ["lda", "lda", "padim", "padim", "paper"]
    page = (out / "ablation.html").read_text()
    assert page.count("<svg") == 3
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")  # nothing is fetched


def test_an_out_that_cannot_be_written_is_refused_before_the_work(
    chips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "find_dataset", lambda *_: pytest.fail("pictures are read"))
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/study")):
        with pytest.raises(UnwritableOutput, match=f"the study cannot be written to {out}"):
            run(chips, out, ("lda",))


def test_a_full_disk_is_told_and_leaves_nothing_half_made(
    chips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = features._Arrays.append

    def full(arrays: features._Arrays, name: str, values: NDArray[np.generic]) -> None:
        if name.startswith("scales"):
            raise OSError(errno.ENOSPC, "No space left on device")
        append(arrays, name, values)

    monkeypatch.setattr(features._Arrays, "append", full)
    with pytest.raises(UnwritableOutput, match=r"the features cannot be written to .*: No space left on device"):
        run(chips, tmp_path, ("lda",))
    assert list((tmp_path / "cache").iterdir()) == []


def test_results_that_cannot_be_kept_are_told(chips: Path, out: Path, tmp_path: Path) -> None:
    shutil.copytree(out / "cache", tmp_path / "cache")
    (tmp_path / "results").write_text("a file")
    with pytest.raises(UnwritableOutput, match=r"the results cannot be written to .*results"):
        run(chips, tmp_path, ("lda",))


def test_a_picture_that_vanishes_meanwhile_is_named(
    chips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_dataset = study.find_dataset

    def vanished(file: PictureFile) -> bytes:
        raise UndecodableImage(f"{file.path} is gone")

    def then_vanish(*arguments: Any) -> tuple[Dataset, LeftOut]:
        found = find_dataset(*arguments)
        monkeypatch.setattr(PictureFile, "read", vanished)
        return found

    monkeypatch.setattr(study, "find_dataset", then_vanish)
    with pytest.raises(TrainingError, match=r"shot_0\.png could be read when the study began.*is gone"):
        run(chips, tmp_path, ("lda",))
