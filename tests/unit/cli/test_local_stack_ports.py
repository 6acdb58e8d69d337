"""Ports that are chosen, remembered, or taken by somebody else."""

import os
import socket
from collections.abc import Iterator

import pytest

from services.cli.local_stack import ports
from services.cli.local_stack.errors import PortTaken


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_every_server_gets_a_port_of_its_own() -> None:
    chosen = ports.choose(dict.fromkeys("abcdef"), {})
    assert len(set(chosen.values())) == 6


def test_a_wanted_port_is_given() -> None:
    free = ports.choose({"kafka": None}, {})["kafka"]
    assert ports.choose({"redis": None, "kafka": free}, {})["kafka"] == free


def test_a_wanted_port_that_is_taken_is_refused_and_its_holder_named(taken: int) -> None:
    with pytest.raises(PortTaken, match=rf"port {taken} for kafka .* \(pid {os.getpid()}\).* --kafka-port"):
        ports.choose({"kafka": taken}, {})


def test_two_servers_cannot_want_one_port() -> None:
    free = ports.choose({"kafka": None}, {})["kafka"]
    with pytest.raises(PortTaken, match=f"--kafka-port and --redis-port both name {free}: "):
        ports.choose({"kafka": free, "redis": free}, {})


def test_a_server_keeps_the_port_it_had() -> None:
    before = ports.choose({"kafka": None}, {})
    assert ports.choose({"kafka": None}, before) == before


def test_a_server_whose_port_was_taken_meanwhile_gets_another(taken: int) -> None:
    assert ports.choose({"kafka": None}, {"kafka": taken})["kafka"] != taken
