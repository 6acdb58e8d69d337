import json
from pathlib import Path

import typer
from typer.testing import CliRunner

from services.cli.token import token
from services.gateway.doorkeeper import Doorkeeper

app = typer.Typer()
app.command()(token)


def test_a_token_is_taken_by_a_gateway_that_has_its_record(tmp_path: Path) -> None:
    drawn = json.loads(CliRunner().invoke(app, ["line-1", "line-2", "--json"]).stdout)
    assert drawn["token"] not in drawn["record"]
    (tmp_path / "tokens").write_text(drawn["record"])
    assert Doorkeeper(tmp_path / "tokens").authenticate(f"Bearer {drawn['token']}") == {"line-1", "line-2"}


def test_no_two_tokens_are_the_same() -> None:
    drawn = {json.loads(CliRunner().invoke(app, ["*", "--json"]).stdout)["token"] for _ in range(3)}
    assert len(drawn) == 3
