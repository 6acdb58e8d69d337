from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from services.cli import feed as command
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
