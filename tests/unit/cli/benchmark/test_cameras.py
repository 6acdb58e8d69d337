"""Cameras beside a gateway that refuses, hangs up and answers as it is told."""

import json
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from services.cli.benchmark import cameras
from services.cli.benchmark.cameras import Cameras
from services.cli.benchmark.rig import BenchmarkFailed

PATIENCE_S = 30.0


class Gateway:
    """Notes the event ids it is asked to store, and answers the first time otherwise than afterwards."""

    def __init__(self, first_answer: int | None) -> None:
        self.first_answer = first_answer
        self.asked: list[str] = []
        self.told = threading.Condition()

    def answer(self, event_id: str) -> int | None:
        """201, but for an id's first time; None hangs up."""
        with self.told:
            self.asked.append(event_id)
            self.told.notify_all()
            return self.first_answer if self.asked.count(event_id) == 1 else 201

    def wait_for(self, count: int) -> None:
        """Until so many requests have come."""
        with self.told:
            assert self.told.wait_for(lambda: len(self.asked) >= count, PATIENCE_S)


class Server(ThreadingHTTPServer):
    """Refuses no connection of its own accord, which cameras would count."""

    request_queue_size = 128  # of connections that nobody has taken yet; five, on a busy machine, are soon exceeded


@contextmanager
def listening(gateway: Gateway) -> Iterator[int]:
    """The port at which it answers."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            event_id = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)["event_id"][0]
            status = gateway.answer(event_id)
            if status is None:
                self.close_connection = True
                return
            body = json.dumps({"event_id": event_id}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as http.server names it
            pass

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cameras, "AGAIN_S", 0.0)


@pytest.mark.parametrize("first_answer", [503, None], ids=["told to come again", "hung up"])
def test_a_camera_that_insists_sends_the_same_event_again_until_it_is_stored(first_answer: int | None) -> None:
    gateway = Gateway(first_answer)
    with listening(gateway) as port:
        sent = Cameras(port, "chip", [b"picture"], rate=200.0, insist=True)
        with sent.sending():
            gateway.wait_for(40)
    assert sent.stored == set(gateway.asked)
    assert all(gateway.asked.count(event_id) == 2 for event_id in sent.stored)
    assert sent.refused == len(sent.stored)


def test_other_cameras_let_a_refused_picture_go() -> None:
    gateway = Gateway(503)
    with listening(gateway) as port:
        sent = Cameras(port, "chip", [b"picture"], rate=200.0)
        with sent.sending():
            gateway.wait_for(20)
    assert not sent.stored
    assert sent.refused == len(gateway.asked) == len(set(gateway.asked))


def test_what_is_refused_for_good_is_told() -> None:
    gateway = Gateway(400)
    with listening(gateway) as port:
        sent = Cameras(port, "chip", [b"picture"], rate=200.0, insist=True)
        with pytest.raises(BenchmarkFailed, match="answered 400"), sent.sending():
            gateway.wait_for(1)
