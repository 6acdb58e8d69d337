from collections.abc import Callable
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from services.cli import feed as command
from services.gateway.feed import Fed, Refused
from shared.errors import ChipsieveError

app = typer.Typer()
app.command()(command.feed)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--line", ""], "--line is empty"),
        (["--line", " line-1"], "--line is ' line-1'"),
        (["--product", "p" * 501], "--product has 501 characters"),
        (["--rate", "nan"], "--rate is nan"),
        (["--rate", "inf"], "--rate is inf"),
        (["--rate", "0"], "--rate is 0"),
        (["--by-reference", "/nowhere"], "--by-reference is /nowhere, which is no folder"),
    ],
)
def test_what_no_picture_could_be_sent_with_is_refused_once_and_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: list[str], told: str
) -> None:
    (tmp_path / "chip.png").touch()
    monkeypatch.setattr(command, "ImageProducer", lambda *_, **__: pytest.fail("a producer was made"))
    done = CliRunner().invoke(app, [str(tmp_path), "--line", "line-1", "--product", "soic-8", *options])
    assert (done.exit_code, done.stdout) == (1, "")
    assert isinstance(done.exception, ChipsieveError)
    assert told in str(done.exception)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """What the command says of what became of two pictures."""
    for name in ("1.png", "2.png"):
        (tmp_path / name).touch()
    monkeypatch.setattr(command, "ImageProducer", MagicMock())

    def tell(fed: Fed) -> Result:
        monkeypatch.setattr(command, "send", lambda *_: fed)
        return CliRunner().invoke(app, [str(tmp_path), "--line", "line-1", "--product", "soic-8"])

    return tell


def test_names_of_refused_pictures_do_nothing_to_the_terminal(told: Callable[..., Result]) -> None:
    done = told(Fed(1, 2.0, (Refused("[red]\x1b[31m\n2.png", "chip is not printable"),)))
    assert done.exit_code == 1
    assert done.stderr == "not sent: [red]\\x1b[31m\\n2.png: chip is not printable\n"


def test_links_to_folders_are_told_as_left_out(told: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(tmp_path)
    assert (
        told(Fed(2, 2.0, ())).stderr == "1 links to folders are left out, for instance linked: feed what they lead to\n"
    )
    (tmp_path / "1.png").unlink()
    (tmp_path / "2.png").unlink()
    assert "links to folders are not followed" in str(told(Fed(0, 2.0, ())).exception)


def test_a_feed_that_is_stopped_says_what_was_sent(told: Callable[..., Result]) -> None:
    done = told(Fed(1, 2.0, (), stopped=True))
    assert done.exit_code == 130
    assert done.stdout == "1 of 2 pictures sent to line line-1 in 2.0 s, 0.5 a second\n"


def test_progress_on_a_terminal_ends_with_its_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with command._Progress(2) as progress:
        progress(1)  # the second is refused
    assert capsys.readouterr().err == "\r1 of 2 sent\n"
