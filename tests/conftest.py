"""Fixtures for tests that need the real broker, Valkey and registry."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from confluent_kafka.admin import AdminClient
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from services.cli.local_stack import ports
from services.cli.local_stack import stack as local_stack
from shared.kafka import create_topics
from shared.settings import Settings
from shared.topics import Topics, load_topics
from shared.wire.registry import SchemaRegistry

# The same examples in every run, and no deadline: a busy machine is no failure.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.load_profile("repeatable")

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
"""The name that xdist gives this process; empty where it runs all tests."""
ONE_START = ("tests/integration/line/", "tests/integration/secure/")
"""Folders whose tests share what takes long to start."""


def pytest_configure() -> None:
    """Give each worker of xdist ports of its own: one is free for all until its server listens."""
    if WORKER:
        number, of = int(WORKER.removeprefix("gw")), int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        ports.UNCLAIMED = ports.UNCLAIMED[number::of]


class ByFileOrFolder(LoadFileScheduling):
    """Gives a worker all tests of a file, or of a folder that starts things once."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return next((folder for folder in ONE_START if file.startswith(folder)), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFileOrFolder:
    """In place of any ``--dist``: what files and folders start once takes too long to be started by each worker."""
    return ByFileOrFolder(config, log)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[local_stack.Addresses]:
    """Kafka, Valkey and the registry on free ports, for the whole session.

    With CHIPSIEVE_TEST_STACK=DIR the stack of that directory is used, started if need be, and left running: a single
    test then need not wait for it. Each worker of xdist has one of its own, there too.
    """
    kept = os.environ.get("CHIPSIEVE_TEST_STACK")
    directory = Path(kept) / WORKER if kept else tmp_path_factory.mktemp("stack")
    try:
        yield local_stack.up(directory)
    finally:
        if not kept:
            local_stack.down(directory, purge=True)


@pytest.fixture
def topics(stack: local_stack.Addresses, monkeypatch: pytest.MonkeyPatch) -> Iterator[Topics]:
    """This test's own topics, created and registered; `Settings()` finds them, here and in child processes."""
    prefix = f"{uuid.uuid4().hex[:8]}-"
    for name, value in (stack.env() | {"CHIPSIEVE_TOPIC_PREFIX": prefix}).items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    made = load_topics(prefix=prefix)
    create_topics(settings.kafka, made)
    SchemaRegistry(settings.registry).register_all(made)
    yield made
    # A session of a hundred tests would leave 3,600 partitions.
    admin = AdminClient(settings.kafka.client_config())
    for deleted in admin.delete_topics([topic.name for topic in made.by_name.values()]).values():
        deleted.result(timeout=30)
