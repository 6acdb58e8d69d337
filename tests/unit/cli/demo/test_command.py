import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from services.cli.demo import run
from services.cli.demo.command import demo
from services.cli.demo.tally import Tally
from shared.errors import ConfigurationError

FIGURES = {
    "sent": 20,
    "verdicts": 20,
    "lost": 0,
    "duplicated": 0,
    "rejected": 2,
    "uninspected": 0,
    "escapes": 1,
    "false_rejects": 0,
    "p50_ms": 40.0,
    "p99_ms": 90.0,
}


@pytest.fixture(autouse=True)
def signals_as_they_were() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def demo_that(monkeypatch: pytest.MonkeyPatch, folder: Path, outcome: object) -> Result:
    def run_demo(*args: object, **options: object) -> object:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr(run, "run_demo", run_demo)
    app = typer.Typer()
    app.command()(demo)
    return CliRunner().invoke(app, ["--chips", "20", "--dir", str(folder)])


def result(folder: Path, **changed: int) -> run.DemoResult:
    return run.DemoResult(Tally(**{**FIGURES, **changed}), folder / "rejects.png")


def test_standard_output_is_the_account_alone_as_json(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ended = demo_that(monkeypatch, tmp_path, result(tmp_path))
    assert ended.exit_code == 0
    assert json.loads(ended.stdout) == FIGURES
    assert str(tmp_path / "rejects.png") in ended.stderr


@pytest.mark.parametrize(
    ("called", "suggested"),
    [
        (".venv/bin/chipsieve", "  .venv/bin/chipsieve evaluate --bundle "),
        ("/srv/services/cli/__main__.py", "  chipsieve evaluate --bundle "),  # python -m services.cli
    ],
)
def test_the_suggested_command_is_called_as_the_demo_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, called: str, suggested: str
) -> None:
    monkeypatch.setattr("sys.argv", [called, "demo"])
    ended = demo_that(monkeypatch, tmp_path, result(tmp_path))
    assert suggested in ended.stderr


@pytest.mark.parametrize("broken", ["lost", "duplicated"])
def test_a_chip_without_exactly_one_verdict_fails_the_demo(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, broken: str
) -> None:
    ended = demo_that(monkeypatch, tmp_path, result(tmp_path, **{broken: 1}))
    assert ended.exit_code == 1
    assert json.loads(ended.stdout)[broken] == 1


def test_what_cannot_be_started_is_said_on_standard_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ended = demo_that(monkeypatch, tmp_path, ConfigurationError("no room for Kafka: free 1 GB"))
    assert ended.exit_code == 2
    assert ended.stdout == ""
    assert "no room for Kafka: free 1 GB" in ended.stderr


def test_an_interrupted_demo_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ended = demo_that(monkeypatch, tmp_path, KeyboardInterrupt())
    assert ended.exit_code == 130
    assert "stopped" in ended.stderr


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/chips"])
def test_a_folder_that_cannot_be_written_is_told_before_anything_is_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(run.stack, "up", lambda _directory: pytest.fail("the stack was started"))
    app = typer.Typer()
    app.command()(demo)
    ended = CliRunner().invoke(app, ["--chips", "5", "--dir", str(tmp_path / place)])
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert f"nothing can be kept in {tmp_path / place}" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
