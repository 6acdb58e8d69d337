"""Exactly once, whatever happens to the processes: each chip leads to one committed record, in its line's order."""

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.stream.errors import ExitStatus
from shared.topics import Topics
from tests.events_of_chips import image_captured
from tests.kafka_records import Records, lose_dead_members_soon
from tests.toy_workers import Workers

LINES = 12
CHIPS = 360


@pytest.fixture
def workers(topics: Topics, tmp_path: Path) -> Iterator[Workers]:
    lose_dead_members_soon("toy")
    running = Workers(tmp_path / "workers.log", transaction_timeout_s=10)
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
    # The one started last may not have come as far as to listen for the signal.
    assert set(workers.stop()) <= {ExitStatus.DRAINED, -signal.SIGTERM}
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
