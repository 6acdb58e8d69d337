"""What `chipsieve ablate` prints, of made-up results; that it measures is a matter of the trainer's tests."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.text import Text
from typer.testing import CliRunner, Result

from services.cli.commands import app
from services.trainer.errors import UnwritableOutput
from services.trainer.evaluation.ablation import study
from services.trainer.evaluation.ablation.dataset import LeftOut
from services.trainer.material.picture_features import Unreadable
from tests.unit.trainer.evaluation.ablation.made_up import line, report

ODD = LeftOut(
    unreadable=(
        Unreadable("[red]a[/bold].png", "[/i] is no picture"),
        Unreadable("\x1b[2J.png", "gone"),
        Unreadable("caf\udce9.png", "gone"),
    ),
    copies=2,
    warnings=("2 pictures are copies of others, for instance [b].png of a.png, and were left out",),
)


def run(out: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> Result:
    monkeypatch.setattr(study, "ablate", lambda **_: replace(report(line({}, {})), left_out=ODD))
    arguments = ["ablate", "--normal", "/line/good", "--abnormal", "/line/bad", "--out", str(out), *more]
    return CliRunner().invoke(app, arguments)


def test_names_are_printed_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "[bold]study[/i]"
    out.mkdir(parents=True)
    shown = run(out, monkeypatch)
    assert shown.exit_code == 0, shown.exception
    assert "[red]a[/bold].png could not be read: [/i] is no picture" in shown.stderr
    assert r"\x1b[2J.png could not be read" in shown.stderr
    assert "\x1b" not in shown.stdout + shown.stderr
    assert "2 pictures are copies of others, for instance [b].png of a.png" in shown.stderr
    assert f"written to {out / 'ablation.html'}" in shown.stderr
    assert r"[red]a[/bold].png, \x1b[2J.png, caf\udce9.png" in " ".join(shown.stdout.split())
    assert "Logistic regression" in shown.stdout


def test_what_cannot_be_written_is_shown_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ablation.html").mkdir()
    for more, said in (((), "Logistic regression"), (("--json",), '"copies_left_out": 2')):
        shown = run(tmp_path, monkeypatch, *more)
        assert isinstance(shown.exception, UnwritableOutput)
        assert said in shown.stdout
    assert json.loads(shown.stdout)["rows"]


def test_a_study_of_other_pictures_is_not_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(tmp_path, monkeypatch).exit_code == 0
    before = (tmp_path / "ablation.json").read_bytes()
    refused = run(tmp_path, monkeypatch, "--abnormal", "/other/bad")
    assert isinstance(refused.exception, UnwritableOutput)
    assert "/line/good, /line/bad" in str(refused.exception)
    assert (tmp_path / "ablation.json").read_bytes() == before
    assert run(tmp_path, monkeypatch).exit_code == 0


@pytest.mark.parametrize("beyond", [("--seed", str(2**32)), ("--minutes", "inf")])
def test_a_number_that_a_study_cannot_go_by_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beyond: tuple[str, str]
) -> None:
    refused = run(tmp_path, monkeypatch, *beyond)
    assert refused.exit_code == 2
    assert beyond[0] in refused.stderr


@pytest.mark.parametrize("columns", [80, 120, 200])
def test_a_terminal_shows_what_row_has_which_figures(
    columns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = run(tmp_path, monkeypatch)
    assert all(len(line) <= columns for line in Text.from_ansi(shown.stdout).plain.splitlines())
    assert "Logistic" in shown.stdout
    assert "regression" in shown.stdout
    for heading in ("split", "accuracy", "precision", "recall", "F1", "AUROC", "rejects"):
        assert heading in shown.stdout
    assert shown.stdout.count("0.900") == 5
    assert "…" not in shown.stdout
    assert ("± 0.000" in shown.stdout) == (columns == 200)
    assert ("in a wider terminal" in shown.stdout) == (columns != 200)
