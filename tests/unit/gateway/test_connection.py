"""Senders that close their half of the connection once they have sent their request."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import cast

import pytest

from services.gateway.producer import ImageProducer
from services.gateway.service import _listen, _server
from services.gateway.settings import DoorSettings
from tests.bad_pictures import encoded, noise
from tests.unit.gateway.doubles import FakeProducer

PICTURE = encoded(noise(), "JPEG")


@contextmanager
def half_closed(port: int, *sent: bytes) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for part in sent:
            connection.sendall(part)
        connection.shutdown(socket.SHUT_WR)
        yield connection


def everything(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


def request(chip: str) -> bytes:
    query = f"line=line-1&product=qfn32&chip={chip}&event_id={chip}"
    return f"POST /v1/images?{query} HTTP/1.1\r\nHost: gateway\r\nContent-Length: {len(PICTURE)}\r\n\r\n".encode()


@pytest.fixture
def port() -> Iterator[int]:
    door = DoorSettings(port=0)
    server = _server(door, cast("ImageProducer", FakeProducer()), None)
    with _listen(door) as listening:
        thread = Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join()


def test_a_sender_that_has_closed_its_half_is_answered(port: int) -> None:
    with half_closed(port, request("1"), PICTURE) as connection:
        answer = everything(connection)
    assert answer.startswith(b"HTTP/1.1 201 ")
    assert answer.count(b"HTTP/1.1") == 1


def test_each_of_its_requests_is(port: int) -> None:
    with half_closed(port, request("1"), PICTURE, request("2"), PICTURE) as connection:
        assert everything(connection).count(b"HTTP/1.1 201 ") == 2


@pytest.mark.parametrize("sent", [b"", request("1")[:-1], request("1"), request("1") + PICTURE[:-1]])
def test_one_that_has_not_said_all_is_not_waited_for(port: int, sent: bytes) -> None:
    with half_closed(port, sent) as connection:
        assert everything(connection) == b""
