import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from benchmarks import accuracy
from benchmarks.accuracy_sets import Figures, measure_board
from services.trainer.material.pictures import find_pictures
from tests.unit.trainer.conftest import draw


def run(*arguments: str) -> Figures:
    app = typer.Typer()
    app.command()(accuracy.main)
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)  # type: ignore[no-any-return]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was measured, by name."""
    names: list[str] = []

    def measure(name: str, **figures: object) -> accuracy.Measure:
        return lambda work: names.append(name) or dict(figures)  # type: ignore[func-returns-value]

    plan = {
        "given split": measure("given split", image_auroc=0.95, au_pro=0.5),
        "group split 0": measure("group split 0", image_auroc=0.8),
        "group split 1": measure("group split 1", image_auroc=0.9),
        "promise 0": measure(
            "promise 0", at_5_percent={"refused": None, "realised": 0.06}, at_1_percent={"refused": "few"}
        ),
    }
    monkeypatch.setattr(accuracy, "plan_of_tiles", lambda tiles, seed: plan)
    return names


def test_each_figure_stands_beside_its_goal(measured: list[str], tmp_path: Path) -> None:
    document = run("--tiles", str(tmp_path), "--out", str(tmp_path / "out"))
    met = {goal["what"]: (pytest.approx(goal["found"]), goal["is_met"]) for goal in document["goals"]}
    assert met["image AUROC, given split"] == (0.95, True)
    assert met["AU-PRO, given split"] == (0.5, False)
    assert met["image AUROC, mean of 2 group splits"] == (0.85, False)
    assert met["broken ones of 1 promises made of 1 at 5%"] == (1, True)
    assert met["broken ones of 0 promises made of 1 at 1%"] == (0, True)
    assert json.loads((tmp_path / "out" / "accuracy.json").read_text()) == document


def test_what_was_measured_is_kept_and_gone_on_with(measured: list[str], tmp_path: Path) -> None:
    arguments = ("--tiles", str(tmp_path), "--out", str(tmp_path / "out"))
    run(*arguments, "--only", "group")
    assert measured == ["group split 0", "group split 1"]
    run(*arguments)
    assert sorted(measured) == ["given split", "group split 0", "group split 1", "promise 0"]


def test_a_board_is_split_by_crop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for seed in range(8):
        draw(tmp_path / "board" / "normal" / f"{seed}.png", seed)
        draw(tmp_path / "board" / "abnormal" / f"{seed}.png", seed, defect=(30, 40))
    folders: Figures = {}
    monkeypatch.setattr(
        "benchmarks.accuracy_sets._train_and_evaluate", lambda work, **given: folders.update(given) or {}
    )
    measure_board(tmp_path / "board", 0, tmp_path / "work")
    learnt, normal, abnormal = (
        {file.name for file in find_pictures(folder)}
        for folder in (folders["normal"], folders["tested"].normal, folders["tested"].abnormal)
    )
    assert len(learnt) == 4
    assert normal == abnormal
    assert not learnt & normal
