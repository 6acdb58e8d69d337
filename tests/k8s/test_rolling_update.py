"""A stage's real processes on a real broker, ended and started as a StatefulSet rolls them, while chips keep coming."""

import statistics
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event as Flag
from threading import Thread

import pytest

from shared.stream.errors import ExitStatus
from shared.topics import Topics
from tests.events_of_chips import image_captured
from tests.k8s.control_plane import wait_until
from tests.kafka_records import Records
from tests.toy_pods import Pod

STAGE = "tests.toy_stage"
SLOTS = ("0", "1", "2")
LINES = 12
EVERY_S = 0.02
DUE_AFTER = timedelta(seconds=5)


@pytest.fixture
def pods(topics: Topics, tmp_path: Path) -> Iterator[list[Pod]]:
    running = [Pod(slot, tmp_path / f"{slot}.log", STAGE) for slot in SLOTS]
    try:
        yield running
    finally:
        for pod in running:
            pod.terminate()


def test_no_chip_is_late_or_lost_while_a_stage_is_rolled(topics: Topics, pods: list[Pod]) -> None:
    records = Records(topics)
    for pod in pods:
        wait_until(pod.is_ready, "ready")
    stopping, sent = Flag(), 0

    def feed() -> None:
        nonlocal sent
        while not stopping.wait(EVERY_S):
            now = datetime.now(UTC)
            records.send(
                [
                    image_captured(
                        b"chip", sent, line_id=f"line-{sent % LINES}", captured_at=now, verdict_by=now + DUE_AFTER
                    )
                ]
            )
            sent += 1

    feeder = Thread(target=feed)
    feeder.start()
    try:
        for pod in reversed(pods):  # the highest ordinal first, as Kubernetes does it
            assert pod.terminate() == ExitStatus.DRAINED
            pod.start(STAGE)
            wait_until(pod.is_ready, "ready again")
    finally:
        stopping.set()
        feeder.join()
    forwarded = records.wait_for("features", sent)
    assert len({event.event_id for event in forwarded}) == len(forwarded) == sent
    assert [event.event_id for event in forwarded if event.uninspected] == []

    delays = _delays(records)
    cuts = statistics.quantiles(delays, n=100)
    print(
        f"\n{sent} chips while 3 workers are rolled: ms until judged p50 {cuts[49]:.0f}, p99 {cuts[98]:.0f}, ", end=""
    )
    print(f"max {max(delays):.0f}", flush=True)


def _delays(records: Records) -> list[float]:
    """Milliseconds from each picture's record to its features'."""
    begun = {_event_id(message): message.timestamp()[1] for message in records.committed_messages("images")}
    return [message.timestamp()[1] - begun[_event_id(message)] for message in records.committed_messages("features")]


def _event_id(message) -> bytes:
    return dict(message.headers())["event_id"]
