"""Exactly once, whatever happens to the processes: each chip leads to one committed record, in its line's order."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.stream.errors import ExitStatus
from shared.topics import Topics
from tests.events_of_chips import image_captured
from tests.kafka_records import Records

REPOSITORY = Path(__file__).parents[2]
LINES = 12
CHIPS = 360


class Workers:
    """Worker processes of one stage, by slot."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, slot: str) -> None:
        environment = os.environ | {"CHIPSIEVE_STREAM__WORKER": slot, "CHIPSIEVE_STREAM__BATCH_SIZE": "5"}
        with self._log.open("ab") as log:
            self._running[slot] = subprocess.Popen(
                [sys.executable, "-m", "tests.toy_stage"], cwd=REPOSITORY, env=environment, stderr=log
            )

    def kill(self, slot: str) -> None:
        self._running[slot].kill()
        self._running.pop(slot).wait()

    def freeze(self, slot: str) -> None:
        self._running[slot].send_signal(signal.SIGSTOP)

    def thaw(self, slot: str) -> None:
        self._running[slot].send_signal(signal.SIGCONT)

    def stop(self) -> list[int]:
        """SIGTERM to all; their exit statuses."""
        for process in self._running.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        return [process.wait(timeout=30) for process in self._running.values()]


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    running = Workers(tmp_path / "workers.log")
    yield running
    running.stop()


def test_no_chip_is_lost_or_judged_twice_when_workers_are_killed(topics: Topics, workers: Workers):
    records = Records(topics)
    slots = ["0", "1"]
    for slot in slots:
        workers.start(slot)
    sent = [
        image_captured(b"picture", number, line_id=f"line-{number % LINES}", product="poison" if number == 77 else "p")
        for number in range(CHIPS)
    ]
    dice = random.Random(1)
    for part in range(6):
        records.send(sent[part * 60 : part * 60 + 60])
        # Once work has begun on this part, so that a batch or its transaction is under way.
        records.wait_for("features", part * 60 + 5)
        slot = dice.choice(slots)
        workers.kill(slot)
        workers.start(slot)
    forwarded = records.wait_for("features", CHIPS)
    assert workers.stop() == [ExitStatus.DRAINED] * len(slots)
    for line in range(LINES):
        of_line = [event.event_id for event in forwarded if event.line_id == f"line-{line}"]
        assert of_line == [event.event_id for event in sent if event.line_id == f"line-{line}"]
    assert len(records.committed("features")) == CHIPS
    assert [letter.event_id for letter in records.committed("dead-letters")] == ["event-77"]


def test_a_worker_that_was_frozen_past_its_session_repeats_nothing(topics: Topics, workers: Workers):
    records = Records(topics)
    workers.start("0")
    records.send([image_captured(b"picture", number, line_id=f"line-{number % LINES}") for number in range(120)])
    records.wait_for("features", 5)
    workers.freeze("0")
    workers.start("1")
    records.wait_for("features", 120)
    workers.thaw("0")
    records.send([image_captured(b"picture", number, line_id=f"line-{number % LINES}") for number in range(120, 240)])
    forwarded = records.wait_for("features", 240)
    assert sorted(event.event_id for event in forwarded) == sorted(f"event-{number}" for number in range(240))
    for line in range(LINES):
        of_line = [event.event_id for event in forwarded if event.line_id == f"line-{line}"]
        assert of_line == [f"event-{number}" for number in range(240) if number % LINES == line]
