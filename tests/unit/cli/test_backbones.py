import pytest
import typer
from typer.testing import CliRunner

from services.cli import backbones as command
from services.cli.backbones import backbones


def test_names_with_brackets_are_shown_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "models/[red]a[/blue].keras"
    tap = {"name": "block[/1]", "height": 8, "width": 8, "channels": 3}
    found = {"taps": [tap], "weights_sha256": None, "warning": "no [/weights] here"}
    monkeypatch.setattr(command, "_one", lambda _name, _size: found)
    app = typer.Typer()
    app.command()(backbones)
    result = CliRunner().invoke(app, [name], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.exception
    for text in (name, "block[/1]", "no [/weights] here"):
        assert text in result.output
