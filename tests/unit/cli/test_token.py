import json
from pathlib import Path

import typer
from typer.testing import CliRunner

from services.cli.token import token
from services.gateway.doorkeeper import Doorkeeper
from services.gateway.errors import InvalidIdentity

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


def test_a_token_for_a_line_with_a_blank_in_its_name_is_good_for_that_line_alone(tmp_path: Path) -> None:
    drawn = json.loads(CliRunner().invoke(app, ["press *", "--json"]).stdout)
    (tmp_path / "tokens").write_text(drawn["record"])
    assert Doorkeeper(tmp_path / "tokens").authenticate(f"Bearer {drawn['token']}") == {"press *"}


def test_no_token_is_drawn_for_a_line_without_a_name() -> None:
    done = CliRunner().invoke(app, [""])
    assert (done.exit_code, done.stdout) == (1, "")
    assert isinstance(done.exception, InvalidIdentity)
