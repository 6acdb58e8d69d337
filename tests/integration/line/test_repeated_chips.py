"""A chip that is sent again, by a client that retried or by the dead letters' replay, through the real stages."""

import json
import uuid

import pytest
from typer.testing import CliRunner

from services.cli import dead_letters
from shared.events import Verdict
from tests.integration.line.conftest import RunningLine, captured, good_chip

GOOD = good_chip()


@pytest.fixture
def line_id() -> str:
    """A line of the test's own."""
    return f"line-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def replay(line: RunningLine, stack, line_id: str, monkeypatch: pytest.MonkeyPatch):
    """`chipsieve dead-letters replay` for the test's line."""
    for name, value in (stack.env() | {"CHIPSIEVE_TOPIC_PREFIX": line.settings.topic_prefix}).items():
        monkeypatch.setenv(name, value)

    def run(*options: str) -> dict[str, object]:
        done = CliRunner().invoke(dead_letters.app, ["replay", "--line", line_id, "--json", *options])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    return run


def test_a_chip_that_was_sent_twice_has_one_verdict(line: RunningLine, line_id: str) -> None:
    first, last = captured(line_id, GOOD), captured(line_id, GOOD)
    for event in (first, first, last, first):
        line.send(event)
    end = captured(line_id, GOOD)
    line.send(end)
    assert [verdict.event_id for verdict in line.verdicts(line_id, 3)] == [
        first.event_id,
        last.event_id,
        end.event_id,
    ]
    assert len(line.features(line_id, 3)) == 3


def test_a_picture_without_verdict_is_judged_by_a_replay_once(line: RunningLine, line_id: str, replay) -> None:
    path = line.image_root / f"{line_id}.png"
    chip = captured(line_id, GOOD, image_bytes=None, image_uri=path.as_uri())
    line.send(chip)
    line.dead_letters(line_id, 1)
    path.write_bytes(GOOD)

    line.send(chip)  # is no repair: its sender was told UNINSPECTED, and may not know why
    assert replay()["replayed"] == 1
    assert [verdict.verdict for verdict in line.verdicts(line_id, 2)] == [Verdict.UNINSPECTED, Verdict.PASS]

    again = replay("--again")
    assert (again["replayed"], again["already_judged"]) == (0, 1)
    line.send(chip)
    end = captured(line_id, GOOD)
    line.send(end)
    verdicts = line.verdicts(line_id, 3)
    assert [verdict.event_id for verdict in verdicts] == [chip.event_id, chip.event_id, end.event_id]
    assert len(line.dead_letters(line_id, 1)) == 1
