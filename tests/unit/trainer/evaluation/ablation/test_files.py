"""What is written of a study, of made-up results."""

import csv
import errno
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from services.trainer.errors import UnwritableOutput
from services.trainer.evaluation.ablation import files
from services.trainer.evaluation.ablation.dataset import LeftOut
from services.trainer.evaluation.ablation.files import document, write_files
from services.trainer.evaluation.ablation.report import Report
from services.trainer.material.picture_features import Unreadable
from tests.unit.trainer.evaluation.ablation.made_up import line, report

ALL = {"ablation.json", "ablation.csv", "ablation.html", "auroc.svg", "f1.svg", "time.svg"}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_study_in_which_all_are_right_is_written(tmp_path: Path) -> None:
    right = {"accuracy": 1.0, "f1": 1.0, "auroc": 1.0}
    write_files(report(line(right, right), line(right, right, row=6)), tmp_path)
    assert names(tmp_path) == ALL


def test_a_plot_that_cannot_be_drawn_costs_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> str:
        raise ZeroDivisionError("float division by zero")

    monkeypatch.setattr(files, "measure_plot", fails)
    with pytest.raises(UnwritableOutput, match=r"auroc\.svg: ZeroDivisionError.*f1\.svg.*What was measured is kept"):
        write_files(report(line({})), tmp_path)
    assert names(tmp_path) == ALL - {"auroc.svg", "f1.svg"}
    page = (tmp_path / "ablation.html").read_text(encoding="utf-8")
    assert page.count("A plot could not be drawn") == 2
    assert page.count("<svg") == 1


def test_a_file_that_cannot_be_written_costs_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "ablation.json").mkdir()
    (tmp_path / "auroc.svg").mkdir()
    with pytest.raises(UnwritableOutput, match=r"ablation\.json: Is a directory; auroc\.svg: Is a directory"):
        write_files(report(line({})), tmp_path)
    assert names(tmp_path) == ALL
    assert (tmp_path / "ablation.html").read_text(encoding="utf-8").count("<svg") == 3  # it was drawn all the same


def test_a_page_stays_where_there_is_no_room_for_a_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(report(line({})), tmp_path)
    before = (tmp_path / "ablation.html").read_text(encoding="utf-8")
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if not data.startswith(b"<!doctype html>"):
            return write(path, data)
        write(path, data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UnwritableOutput, match=r"\(ablation\.html: No space left on device\)"):
        write_files(report(line({}), line({}, row=1)), tmp_path)
    assert names(tmp_path) == ALL
    assert (tmp_path / "ablation.html").read_text(encoding="utf-8") == before


def test_one_split_has_no_deviation(tmp_path: Path) -> None:
    write_files(report(line({})), tmp_path)
    rows = json.loads((tmp_path / "ablation.json").read_text(encoding="utf-8"))["rows"]
    assert rows[0]["auroc"] == {"mean": 0.9, "sd": None}
    with (tmp_path / "ablation.csv").open(encoding="utf-8") as lines:
        assert next(csv.DictReader(lines))["auroc_sd"] == ""
    page = (tmp_path / "ablation.html").read_text(encoding="utf-8")
    assert "<td>0.900</td>" in page
    assert "Figures over 1 random split," in page
    assert "0.900 ±" not in page


def test_json_has_no_word_that_is_no_json(tmp_path: Path) -> None:
    write_files(report(line({"auroc": math.nan}, {"auroc": 0.5})), tmp_path)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    rows = json.loads((tmp_path / "ablation.json").read_text(encoding="utf-8"), parse_constant=refuse)["rows"]
    assert rows[0]["auroc"] == {"mean": None, "sd": None}


@pytest.fixture
def odd() -> Report:
    r"""With names that hold a byte which is no UTF-8, and what HTML would read as its own."""
    left_out = LeftOut(
        unreadable=(Unreadable("caf\udce9/<b>.png", "no <picture>"),),
        copies=3,
        warnings=("3 pictures are copies of others, for instance a\udcff.png of b.png, and were left out",),
    )
    return replace(
        report(line({}, {})),
        left_out=left_out,
        kinds={"ri\udce9f": 8, "<i>": 4},
        normal=(Path("/line/good"), Path("/line/g\udcfct")),
        abnormal=Path("/line/<bad>"),
        groups=9,
        groups_file=Path("/line/groups.csv"),
    )


def test_names_that_are_no_utf8_are_written_legibly(odd: Report, tmp_path: Path) -> None:
    write_files(odd, tmp_path)
    assert names(tmp_path) == ALL
    page = (tmp_path / "ablation.html").read_text(encoding="utf-8")
    for said in (r"caf\udce9/&lt;b&gt;.png: no &lt;picture&gt;", r"/line/g\udcfct", r"ri\udce9f 8", r"a\udcff.png of"):
        assert said in page
    assert "<bad>" not in page
    assert document(odd)["unreadable"] == [r"caf\udce9/<b>.png"]


def test_the_page_says_by_what_when_and_of_what_it_was_made(odd: Report, tmp_path: Path) -> None:
    later = replace(line({}, row=8), kind="grouped")
    other_day = tuple(replace(each, measured_at="2026-03-02T10:00:00+00:00") for each in later.results)
    write_files(replace(odd, lines=(*odd.lines, replace(later, results=other_day))), tmp_path)
    page = (tmp_path / "ablation.html").read_text(encoding="utf-8")
    for said in (
        "2026-03-01 09:30 UTC by Chipsieve 1.2.3",
        "2026-03-01 09:00:00 to 2026-03-02 10:00:00 UTC",
        "2 cores of Some CPU; Python 3.11.9, OpenVINO 2026.4.1, TensorFlow 2.21.0",
        "/line/good",
        "9, by /line/groups.csv",
        "30 good and 12 defective pictures",
        "copies of other pictures: 3; unreadable files: 1",
        "2 random and 1 grouped splits",
        "(the first: 2 pictures, 1 of them defective); seed 7",
        "moves its recall by 1.000",
        "would have about 0.714",
        "above 95% of the good training pictures",
        "copied from the paper",
    ):
        assert said in page
    known = document(odd)
    assert known["chipsieve"] == "1.2.3"
    assert known["written_at"] == "2026-03-01T09:30:00+00:00"
    assert known["cpus"] == 2
    assert known["splits"] == {"random": 2}
    assert known["copies_left_out"] == 3


def test_the_share_that_is_tested_is_the_one_that_was(tmp_path: Path) -> None:
    larger = line({}, kind="grouped")
    of_half = tuple(replace(each, defective=[False] * 15 + [True] * 6) for each in larger.results)
    write_files(report(line({}), replace(larger, results=of_half)), tmp_path)
    page = (tmp_path / "ablation.html").read_text(encoding="utf-8")
    assert "each tests 5% to 50% (the first" in page
    assert "5% to 50% of the pictures tested" in page


def test_the_keys_that_were_there_are_there() -> None:
    before = {"rows", "paper", "normal_images", "abnormal_images", "groups", "unreadable", "seed", "quick"}
    assert before <= set(document(report(line({}))))
