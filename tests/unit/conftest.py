"""Fixtures for tests without a broker."""

import logging
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def restored_logs() -> Iterator[None]:
    """Puts the process-wide configuration of logs back: whoever changed it, the next test's lines are its own."""
    root, client = logging.getLogger(), logging.getLogger("librdkafka")  # of commands the client is quiet
    handlers, levels = root.handlers, (root.level, client.level)
    yield
    root.handlers = handlers
    for logger, level in zip((root, client), levels, strict=True):
        logger.setLevel(level)
    structlog.reset_defaults()
