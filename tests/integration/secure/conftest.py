"""One guarded stack for all of these tests: TLS, users, rights."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.cli.local_stack import stack as local_stack
from services.cli.local_stack.security import Security
from shared.kafka import create_topics
from shared.settings import Settings
from shared.topics import Topics, load_topics
from shared.wire.registry import SchemaRegistry
from tests.conftest import WORKER

TOPICS = load_topics()


class GuardedStack:
    """The stack, and how each user sees it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        self.addresses = local_stack.up(directory, secure=True)
        security = self.addresses.security
        assert security is not None
        self.security: Security = security

    def settings(self, user: str) -> Settings:
        """As a process of that user would have them."""
        values: dict[str, dict[str, str]] = {}
        for name, value in self.addresses.env(user).items():
            group, _, field = name.removeprefix("CHIPSIEVE_").lower().partition("__")
            values.setdefault(group, {})[field] = value
        return Settings(**values)


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedStack]:
    """With CHIPSIEVE_TEST_SECURE_STACK=DIR that directory's stack, each worker's own, which is left running."""
    kept = os.environ.get("CHIPSIEVE_TEST_SECURE_STACK")
    directory = Path(kept) / WORKER if kept else tmp_path_factory.mktemp("guarded")
    try:
        yield GuardedStack(directory)
    finally:
        if not kept:
            local_stack.down(directory, purge=True)


@pytest.fixture(scope="session")
def guarded_topics(guarded: GuardedStack) -> Topics:
    """The topics, made by the operator as `chipsieve topics create` does."""
    settings = guarded.settings("operator")
    with SchemaRegistry(settings.registry) as registry:
        registry.register_all(TOPICS)
    create_topics(settings.kafka, TOPICS)
    return TOPICS
