"""`chipsieve collect` on the running line: the pictures that were sent come back, by what was said of them."""

import csv
import dataclasses
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from services.cli.commands import app
from shared.events import ChipInspected, Verdict
from tests.integration.line.conftest import RunningLine, captured, good_chip
from tests.integration.line.test_explain import defective_chip

CUT_OFF = good_chip(9)[:500]


@pytest.fixture
def line_id() -> str:
    """A line of the test's own."""
    return f"line-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def collect(line: RunningLine, stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """The command, on this line; what it says, with its exit status and standard error."""
    settings = {"CHIPSIEVE_TOPIC_PREFIX": line.settings.topic_prefix, "CHIPSIEVE_IMAGES__ROOT": str(line.image_root)}
    for name, value in (stack.env() | settings).items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> dict[str, Any]:
        done = CliRunner().invoke(app, ["collect", str(tmp_path / "to"), "--json", *arguments])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return {**json.loads(done.stdout), "status": done.exit_code, "stderr": done.stderr}

    return run


@pytest.fixture
def judged(line: RunningLine, line_id: str) -> dict[Verdict, tuple[ChipInspected, bytes]]:
    """A chip of each verdict with its picture, the rejected one by reference."""
    pictures = {Verdict.PASS: good_chip(2), Verdict.REJECT: defective_chip(), Verdict.UNINSPECTED: CUT_OFF}
    (line.image_root / f"{line_id}.png").write_bytes(pictures[Verdict.REJECT])
    reference = {"image_bytes": None, "image_uri": (line.image_root / f"{line_id}.png").as_uri()}
    line.send_all(
        [
            captured(line_id, picture, **(reference if said is Verdict.REJECT else {}))
            for said, picture in pictures.items()
        ]
    )
    verdicts = {verdict.verdict: verdict for verdict in line.verdicts(line_id, len(pictures))}
    return {said: (verdicts[said], picture) for said, picture in pictures.items()}


def collected(folder: Path) -> dict[str, tuple[bytes, dict[str, str]]]:
    """Pictures and rows of the table by verdict."""
    with (folder / "to" / "verdicts.csv").open(newline="", encoding="utf-8") as table:
        return {row["verdict"]: ((folder / "to" / row["file"]).read_bytes(), row) for row in csv.DictReader(table)}


def test_rejects_come_back_as_they_were_sent_and_once(collect, judged, line_id: str, tmp_path: Path) -> None:
    first = collect("--line", line_id, "--overlay")

    assert (first["status"], first["found"], first["collected"], first["missing"]) == (0, 1, 1, 0)
    (data, row), *others = collected(tmp_path).values()
    verdict, picture = judged[Verdict.REJECT]
    assert not others
    assert data == picture
    assert (row["event_id"], float(row["score"]), row["bank_version"]) == (
        verdict.event_id,
        verdict.score,
        verdict.bank_version,
    )
    assert len(list((tmp_path / "to" / "overlays").rglob("*.png"))) == 1

    again = collect("--line", line_id, "--verdict", "reject", "--verdict", "Pass", "--verdict", "uninspected")

    assert (again["found"], again["collected"], again["already_there"]) == (3, 2, 1)
    everything = collected(tmp_path)
    assert {said: data for said, (data, _) in everything.items()} == {
        said: picture for said, (_, picture) in judged.items()
    }
    assert everything["UNINSPECTED"][1]["reason"] == "UNDECODABLE_IMAGE"


def test_only_what_was_asked_for_comes(collect, judged, line_id: str) -> None:
    every = [argument for verdict in Verdict for argument in ("--verdict", verdict)]
    assert collect("--line", line_id, *every, "--max", "2")["found"] == 2
    assert collect("--line", line_id, *every, "--product", "another")["found"] == 0
    assert collect("--line", line_id, *every, "--until", "1h")["found"] == 0
    assert collect("--line", line_id, *every, "--since", "1h")["found"] == 3


def test_pictures_that_are_not_there_any_more_are_named_and_the_others_come(
    line: RunningLine, collect, judged, line_id: str
) -> None:
    verdict, _ = judged[Verdict.REJECT]
    assert verdict.image is not None
    gone = dataclasses.replace(verdict.image, offset=verdict.image.offset + 10**6)
    line.send(dataclasses.replace(verdict, event_id="gone", chip_id="gone", image=gone))
    line.verdicts(line_id, 4)

    done = collect("--line", line_id)

    assert (done["status"], done["collected"], done["missing"]) == (1, 1, 1)
    assert f"chip gone of {line_id}: " in done["stderr"]
    assert "is not kept any more (pictures stay 24 hours)" in done["stderr"]
    assert collect("--line", line_id)["missing"] == 1
