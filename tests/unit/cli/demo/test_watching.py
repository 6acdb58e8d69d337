from typing import Any

import pytest

from services.cli.demo import watching
from services.cli.demo.watching import Watcher, WatchFailed
from shared.settings import Settings
from shared.topics import load_topics
from shared.wire.codec import Codec
from tests.registry_double import RegistryInMemory


class Garbage:
    """A record that is no verdict."""

    def error(self) -> None:
        return None

    def value(self) -> bytes:
        return b"garbage"


class ConsumerDouble:
    """Has one record, which is garbage."""

    def __init__(self, *_: object) -> None: ...

    def get_watermark_offsets(self, *_: object, **__: object) -> tuple[int, int]:
        return 0, 0

    def assign(self, _: object) -> None: ...

    def poll(self, _: float) -> Garbage:
        return Garbage()

    def close(self) -> None: ...


def test_what_ended_the_reading_is_told_to_whoever_asks_for_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer: Any = ConsumerDouble
    monkeypatch.setattr(watching, "Consumer", consumer)
    topics = load_topics()
    watcher = Watcher(Settings(), topics, Codec(RegistryInMemory(), topics))
    with pytest.raises(WatchFailed, match="inspections cannot be read any more: 7 bytes that begin with"):
        watcher.finish()
