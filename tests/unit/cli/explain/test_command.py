"""What `chipsieve explain` says and writes of an explanation that it has."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from services.cli.archive import Found
from services.cli.explain import command
from services.cli.explain.recomputation import Recomputed
from services.cli.explain.telling import Explanation
from shared.events import ChipInspected, Uninspected, UninspectedReason, Verdict
from shared.vision.picture import Picture
from tests.events_of_chips import NOON, identity

app = typer.Typer()
app.command()(command.explain)


@pytest.fixture
def explain(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command, on a chip of that picture; None where it cannot be decoded."""

    def run(picture: Picture | None, overlay: Path, detail: str = "it ends too early") -> Result:
        cause = Uninspected(reason=UninspectedReason.UNDECODABLE_IMAGE, detail=detail, stage="extractor")
        verdict = ChipInspected(
            **identity(1).fields(), verdict=Verdict.UNINSPECTED, uninspected=cause, inspected_at=NOON
        )
        explanation = Explanation(
            found=Found(verdict, "inspections:0:0", 0),
            manifest=None,
            recomputed=Recomputed(verdict, picture),
            compared=(),
            travelled=False,
        )
        monkeypatch.setattr(command, "_explanation", lambda *_, **__: explanation)
        return CliRunner().invoke(app, ["event-1", "--overlay", str(overlay)])

    return run


def test_a_picture_that_cannot_be_decoded_has_no_overlay_and_is_explained_all_the_same(
    explain: Callable[..., Result], tmp_path: Path
) -> None:
    done = explain(None, tmp_path / "overlay.png")
    assert done.exit_code == 0
    assert "agrees: the picture gives this verdict" in done.stdout
    assert done.stderr == "chipsieve: no overlay, for want of a picture: it ends too early\n"
    assert not (tmp_path / "overlay.png").exists()


def test_where_the_overlay_cannot_be_written_the_chip_is_explained_all_the_same(
    explain: Callable[..., Result], tmp_path: Path
) -> None:
    done = explain(np.zeros((16, 16, 3), np.uint8), tmp_path / "nowhere" / "overlay.png")
    assert done.exit_code == 2
    assert "agrees: the picture gives this verdict" in done.stdout
    assert "cannot be written" in done.stderr


def test_what_the_services_found_does_nothing_to_the_terminal(explain: Callable[..., Result], tmp_path: Path) -> None:
    done = explain(None, tmp_path / "overlay.png", detail="\x1b[2J")
    assert done.stdout.count(r"\x1b[2J") == done.stderr.count(r"\x1b[2J") == 1
    assert "\x1b" not in done.output
