"""The whole line, three stages and the gateway as processes, and a view on everything that comes out of it."""

import hashlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from services.cli.demo.render import render_chip
from services.cli.line import Line
from shared.bank.bundle_folder import read_bundle
from shared.bank.store import BankStore
from shared.errors import Uninspectable
from shared.events import ChipInspected, ChipRejected, DeadLetter, Event, FeaturesExtracted, ImageCaptured
from shared.identity import Headers, identity_of, to_headers
from shared.kafka import create_topics, producer_config, reader_config
from shared.settings import Settings
from shared.topics import Topics, load_topics
from shared.wire.codec import Codec
from shared.wire.registry import SchemaRegistry
from tests.bad_pictures import encoded

T = TypeVar("T")
PRODUCT = "soic-8"
WATCHED = {
    "features": FeaturesExtracted,
    "inspections": ChipInspected,
    "rejects": ChipRejected,
    "dead-letters": DeadLetter,
}
PATIENCE_SECONDS = 60


@dataclass
class RunningLine:
    """A running line: what is sent in, and what came out so far."""

    settings: Settings
    topics: Topics
    codec: Codec
    producer: Producer
    image_root: Path
    services: Line
    out: dict[str, list[Event]] = field(default_factory=lambda: {name: [] for name in WATCHED})
    changed: threading.Condition = field(default_factory=threading.Condition)

    def send(self, event: Event, *, key: str | None = None) -> None:
        """An event, as its stage would send it."""
        value = self.codec.encode(event)
        name = self.topics.topic_of(type(event)).declared_as
        self.send_bytes(name, value, key=key or event.line_id, headers=to_headers(identity_of(event)))

    def send_all(self, events: Sequence[Event]) -> None:
        """Events together, so that a stage may find them in one batch."""
        for event in events:
            name = self.topics.topic_of(type(event)).name
            value, headers = self.codec.encode(event), to_headers(identity_of(event))
            self.producer.produce(name, value=value, key=event.line_id, headers=headers, on_delivery=_must_arrive)
        assert self.producer.flush(PATIENCE_SECONDS) == 0

    def send_bytes(self, topic: str, value: bytes | None, *, key: str | None, headers: Headers | None) -> None:
        """A record of any bytes."""
        self.producer.produce(
            self.topics.by_name[topic].name, value=value, key=key, headers=headers, on_delivery=_must_arrive
        )
        assert self.producer.flush(PATIENCE_SECONDS) == 0

    def verdicts(self, line_id: str, count: int) -> list[ChipInspected]:
        """The line's verdicts in order, when there are `count`."""
        return self._wait("inspections", ChipInspected, line_id, count)

    def rejects(self, line_id: str, count: int) -> list[ChipRejected]:
        """The line's rejects in order, when there are `count`."""
        return self._wait("rejects", ChipRejected, line_id, count)

    def features(self, line_id: str, count: int) -> list[FeaturesExtracted]:
        """The line's features in order, when there are `count`."""
        return self._wait("features", FeaturesExtracted, line_id, count)

    def dead_letters(self, line_id: str, count: int) -> list[DeadLetter]:
        """The line's dead letters in order, when there are `count`."""
        return self._wait("dead-letters", DeadLetter, line_id, count)

    def _wait(self, topic: str, kind: type[T], line_id: str, count: int) -> list[T]:
        def found() -> list[T]:
            return [event for event in self.out[topic] if isinstance(event, kind) and event.line_id == line_id]

        with self.changed:
            enough = self.changed.wait_for(lambda: len(found()) >= count, PATIENCE_SECONDS)
            if not enough:
                self.services.check()
                pytest.fail(f"{len(found())} of {count} events on {topic} for {line_id}")
            return found()


def captured(line_id: str, picture: bytes, *, product: str = PRODUCT, **fields: object) -> ImageCaptured:
    """A picture's event, as the gateway would send it."""
    event_id = str(uuid.uuid4())
    plain = {
        "event_id": event_id,
        "chip_id": f"chip-{event_id[:8]}",
        "line_id": line_id,
        "product": product,
        "captured_at": datetime.now(UTC),
        "sha256": hashlib.sha256(picture).hexdigest(),
        "image_bytes": picture,
    }
    return ImageCaptured(**{**plain, **fields})


def good_chip(seed: int = 1) -> bytes:
    """A normal chip's picture, PNG."""
    from PIL import Image

    return encoded(Image.fromarray(render_chip(np.random.default_rng(seed), PRODUCT, None).picture), "PNG")


@pytest.fixture(scope="package")
def line(stack, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLine]:
    """Extractor, matcher and router on topics of their own, watched by a consumer that sees committed records alone."""
    folder = tmp_path_factory.mktemp("line")
    root = folder / "images"
    root.mkdir()
    settings = Settings(
        kafka={"bootstrap_servers": stack.kafka},
        registry={"url": stack.registry},
        redis={"url": stack.redis},
        topic_prefix=f"{uuid.uuid4().hex[:8]}-",
    )
    env = stack.env() | {
        "CHIPSIEVE_TOPIC_PREFIX": settings.topic_prefix,
        "CHIPSIEVE_IMAGES__ROOT": str(root),
        # Far fewer than there are products in the tests of banks, so that they push each other out.
        "CHIPSIEVE_MATCHING__MAX_BANKS": "8",
        # The dead-letter limits have tests of their own; here nearly every chip is bad on purpose.
        "CHIPSIEVE_STREAM__DEAD_LETTER_STREAK": "1000",
        "CHIPSIEVE_STREAM__DEAD_LETTER_RATIO": "1.0",
    }
    topics = load_topics(prefix=settings.topic_prefix)
    create_topics(settings.kafka, topics)
    registry = SchemaRegistry(settings.registry)
    registry.register_all(topics)
    BankStore(settings.redis).publish(read_bundle(bundle))
    with Line(env, folder / "logs") as services:
        running = RunningLine(
            settings=settings,
            topics=topics,
            codec=Codec(registry, topics),
            producer=Producer(producer_config(settings.kafka, topics)),
            image_root=root,
            services=services,
        )
        with _Watching(running):
            yield running


class _Watching:
    """Collects what comes out of the line, on a thread."""

    def __init__(self, line: RunningLine) -> None:
        self._line = line
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._collect, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _collect(self) -> None:
        line = self._line
        consumer = Consumer({**reader_config(line.settings.kafka, line.topics), "enable.partition.eof": False})
        by_topic = {line.topics.by_name[name].name: (name, kind) for name, kind in WATCHED.items()}
        consumer.assign(
            [
                TopicPartition(line.topics.by_name[name].name, partition, 0)
                for name in WATCHED
                for partition in range(line.topics.by_name[name].partitions)
            ]
        )
        while not self._stop.is_set():
            message: Message | None = consumer.poll(0.1)
            if message is None or message.error():
                continue
            name, kind = by_topic[message.topic()]
            try:
                event = line.codec.decode(message.value(), kind)
            except Uninspectable:  # the garbage a test put there itself
                continue
            with line.changed:
                line.out[name].append(event)
                line.changed.notify_all()
        consumer.close()


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds, or fail."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.05)


def _must_arrive(error: object, message: object) -> None:
    assert error is None, error
