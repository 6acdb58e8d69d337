"""Cameras that send pictures to a gateway by HTTP, each over a connection of its own."""

import http.client
import json
import threading
import time
import urllib.parse
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from services.cli.benchmark.rig import LINES, BenchmarkFailed

CAMERAS = LINES  # and as many requests under way at once; the gateway takes 64
TIMEOUT_S = 60.0
AGAIN_S = 0.2  # a camera's pause before it sends a picture again: a gateway that starts is not to be flooded
STORED, KNOWN, COME_AGAIN = 201, 200, 503


@dataclass
class Cameras:
    """They send a folder's pictures over and over, each picture under an event id of its own."""

    port: int
    """Of the gateway, on this machine."""
    product: str
    """What the pictures show."""
    pictures: Sequence[bytes]
    """Encoded."""
    rate: float
    """Pictures a second that all of them send together; a camera whose gateway is slow sends fewer."""
    deadline_ms: int | None = None
    """A verdict is due this long after a picture was."""
    insist: bool = False
    """Whether a picture that was refused for now, or not answered, is sent again until it is stored."""
    stored: set[str] = field(default_factory=set)
    """Event ids that the gateway says are stored."""
    refused: int = 0
    """Answers by which it told to come again, and requests that it did not answer."""

    def __post_init__(self) -> None:
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._failure: BenchmarkFailed | None = None

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Send as long as the block lasts; then every answer has come.

        Raises:
            BenchmarkFailed: the gateway refused a picture for good.
        """
        threads = [threading.Thread(target=self._run, args=(number,)) for number in range(CAMERAS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._ended.set()
            for thread in threads:
                thread.join()
        if self._failure:
            raise self._failure

    def _run(self, camera: int) -> None:
        interval = CAMERAS / self.rate
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        due = time.time() + interval * camera / CAMERAS
        number = 0
        try:
            while not self._ended.wait(max(0.0, due - time.time())):
                self._send(connection, camera, number, due)
                number += 1
                due = max(due + interval, time.time())
        except BenchmarkFailed as failure:
            self._failure = failure
        finally:
            connection.close()

    def _send(self, connection: http.client.HTTPConnection, camera: int, number: int, due: float) -> None:
        query = {
            "line": f"line-{camera % LINES}",
            "product": self.product,
            "chip": f"chip-{camera}-{number}",
            "event_id": str(uuid.uuid4()),
            "captured_at": int(due * 1000),
        }
        if self.deadline_ms is not None:
            query["deadline_ms"] = self.deadline_ms
        path = f"/v1/images?{urllib.parse.urlencode(query)}"
        picture = self.pictures[(camera + number * CAMERAS) % len(self.pictures)]
        while True:
            status, said = _ask(connection, path, picture)
            if status in (STORED, KNOWN):
                with self._lock:
                    self.stored.add(json.loads(said)["event_id"])
                return
            if status not in (None, COME_AGAIN):
                raise BenchmarkFailed(f"the gateway answered {status} to a camera: {said.decode()}")
            with self._lock:
                self.refused += 1
            if not self.insist:
                return
            time.sleep(AGAIN_S)


def _ask(connection: http.client.HTTPConnection, path: str, picture: bytes) -> tuple[int | None, bytes]:
    """Status and body of the answer; None where none came."""
    try:
        connection.request("POST", path, body=picture)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        connection.close()  # the next request opens it anew
        return None, b""
