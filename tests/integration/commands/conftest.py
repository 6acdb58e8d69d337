"""The commands that show and send records, on a real broker: run in this process, with records to run them on."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer
from confluent_kafka import Consumer, Producer
from typer.testing import CliRunner

from services.cli import dead_letters
from services.cli import topics as topics_command
from services.cli.tail import tail
from shared.events import Event
from shared.identity import Headers
from shared.kafka import (
    consumer_config,
    producer_config,
)
from shared.settings import Settings
from shared.topics import Topics
from shared.wire.codec import Codec
from shared.wire.registry import SchemaRegistry

FLUSH_S = 20
app = typer.Typer()
app.add_typer(topics_command.app, name="topics")
app.add_typer(dead_letters.app, name="dead-letters")
app.command()(tail)


def run(*arguments: str) -> str:
    """Standard output of a command that must succeed."""
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def documents(*arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(*arguments, "--json").splitlines()]


@pytest.fixture
def codec(topics: Topics) -> Codec:
    return Codec(SchemaRegistry(Settings().registry), topics)


@pytest.fixture
def produce(topics: Topics, codec: Codec) -> Callable[..., None]:
    """Writes values or events to the topic with a declared name."""
    producer = Producer(producer_config(Settings().kafka, topics))

    def write(to: str, *values: bytes | Event | None, headers: Headers | None = None) -> None:
        for value in values:
            data = value if isinstance(value, bytes | None) else codec.encode(value)
            producer.produce(topics.by_name[to].name, key=b"line-1", value=data, headers=headers)
        assert producer.flush(FLUSH_S) == 0

    return write


@pytest.fixture
def images(topics: Topics) -> Iterator[Callable[[int], list[Any]]]:
    """Reads so many committed records of the images' topic, as a stage would."""
    consumer = Consumer(consumer_config(Settings().kafka, topics, f"{topics.by_name['images'].name}-test"))
    consumer.subscribe([topics.by_name["images"].name])

    def read(count: int) -> list[Any]:
        found: list[Any] = []
        while len(found) < count:
            message = consumer.poll(FLUSH_S)
            assert message is not None, f"{len(found)} of {count} records came"
            assert message.error() is None
            found.append(message)
        return found

    yield read
    consumer.close()
