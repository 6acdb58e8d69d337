from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.cli import bench
from shared.errors import ChipsieveError


@pytest.mark.parametrize("what", ["pipeline", "deadlines", "soak", "draining"])
@pytest.mark.parametrize("missing", ["--images", "--bundle"])
def test_what_is_missing_is_told_before_a_stack_is_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str, missing: str
) -> None:
    (tmp_path / "chip.png").touch()
    monkeypatch.setattr(bench, "own_stack", lambda *_: pytest.fail("a stack was started"))
    done = CliRunner().invoke(bench.app, [what, "--images", str(tmp_path), missing, str(tmp_path / "nowhere")])
    assert (done.exit_code, done.stdout) == (1, "")
    assert isinstance(done.exception, ChipsieveError)
    assert str(tmp_path / "nowhere") in str(done.exception)


@pytest.mark.parametrize(("what", "option"), [("deadlines", "--outage"), ("soak", "--seconds")])
def test_a_time_without_end_is_refused_before_a_stack_is_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str, option: str
) -> None:
    (tmp_path / "chip.png").touch()
    monkeypatch.setattr(bench, "own_stack", lambda *_: pytest.fail("a stack was started"))
    refused = CliRunner().invoke(bench.app, [what, "--images", str(tmp_path), option, "inf"])
    assert refused.exit_code == 2
    assert option in refused.stderr
