"""A stage's real processes on a real broker, ended and started as a StatefulSet rolls them, while chips keep coming."""

import os
import statistics
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event as Flag
from threading import Thread

import pytest

from shared.stream.errors import ExitStatus
from shared.topics import Topics
from tests.events_of_chips import image_captured
from tests.k8s.control_plane import free_port, wait_until
from tests.kafka_records import Records

ROOT = Path(__file__).parents[2]
SLOTS = ("0", "1", "2")
LINES = 12
EVERY_S = 0.02
DUE_AFTER = timedelta(seconds=5)


class Pod:
    """A worker slot: a process that comes back under the same name."""

    def __init__(self, slot: str, log: Path) -> None:
        self._slot, self._log, self._port = slot, log, free_port()
        self.start()

    def start(self) -> None:
        environment = {
            **os.environ,
            "CHIPSIEVE_STREAM__WORKER": self._slot,
            "CHIPSIEVE_ADMIN__PORT": str(self._port),
            "CHIPSIEVE_LOG__FORMAT": "json",
        }
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.toy_stage"], cwd=ROOT, env=environment, stdout=log, stderr=log
            )

    def is_ready(self) -> bool:
        """What the kubelet's probe would find."""
        url = f"http://127.0.0.1:{self._port}/readyz"
        with suppress(urllib.error.URLError, ConnectionError), urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
        return False

    def terminate(self) -> int:
        """SIGTERM; the exit status."""
        self._process.terminate()
        return self._process.wait(30)  # the grace period


@pytest.fixture
def pods(topics: Topics, tmp_path: Path) -> Iterator[list[Pod]]:
    running = [Pod(slot, tmp_path / f"{slot}.log") for slot in SLOTS]
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
            pod.start()
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
