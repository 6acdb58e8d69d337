"""A stage is rolled to the next version and back: both versions work side by side, and read what the other wrote."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import fastavro
import pytest

from shared.events import ChipsSettled, Event, FeaturesExtracted, ImageCaptured
from shared.identity import identity_of, to_headers
from shared.settings import Settings
from shared.stream.errors import ExitStatus
from shared.topics import Topics
from shared.wire.codec import MAGIC, PREFIX
from shared.wire.records import to_record
from shared.wire.registry import SchemaRegistry, schema_source
from tests.events_of_chips import image_captured
from tests.kafka_records import Records, wait_for
from tests.next_version import with_a_station
from tests.toy_pods import REPOSITORY, Pod

NOW = ("tests.toy_stage", "once")
NEXT = ("tests.next_version", *NOW)
SLOTS = ("0", "1")
LINES = 12
SOME = 40  # chips, between two happenings
AGAIN = 25  # of the chips before, which are sent a second time


@pytest.fixture
def next_schemas(topics: Topics) -> dict[type[Event], int]:
    """The next version's schemas, registered by its own `chipsieve topics create`; their ids."""
    create = [sys.executable, "-m", "tests.next_version", "services.cli", "topics", "create"]
    subprocess.run(create, cwd=REPOSITORY, env=os.environ, check=True)
    with SchemaRegistry(Settings().registry) as registry:
        return {
            topic.event: registry.register(topic, json.dumps(_as_next(topic.event)))
            for topic in topics.by_name.values()
        }


@pytest.fixture
def pods(topics: Topics, tmp_path: Path) -> Iterator[dict[str, Pod]]:
    running = {slot: Pod(slot, tmp_path / f"{slot}.log", *NOW) for slot in SLOTS}
    yield running
    for pod in running.values():
        pod.terminate()


def test_a_stage_is_rolled_to_the_next_version_and_back_while_chips_come(
    topics: Topics, pods: dict[str, Pod], next_schemas: dict[type[Event], int]
) -> None:
    records = Records(topics)
    sent: list[ImageCaptured] = []

    def send() -> None:
        """Some chips by this version's gateway, some by the next one's, and the latest of before once more."""
        again = sent[-AGAIN:]
        new = [image_captured(b"picture", len(sent) + n, line_id=f"line-{n % LINES}") for n in range(SOME)]
        sent.extend(new)
        records.send([*new[::2], *again[::2]])
        _send_as_next(records, next_schemas[ImageCaptured], [*new[1::2], *again[1::2]])

    for version in (NEXT, NOW):
        for pod in pods.values():
            wait_for(lambda: all(each.is_ready() for each in pods.values()), "both workers")
            send()
            assert pod.terminate() == ExitStatus.DRAINED
            send()
            pod.start(*version)
    wait_for(lambda: all(each.is_ready() for each in pods.values()), "both workers")
    send()

    forwarded = records.wait_for("features", len(sent))
    for line in range(LINES):
        wanted = [event.event_id for event in sent if event.line_id == f"line-{line}"]
        assert [event.event_id for event in forwarded if event.line_id == f"line-{line}"] == wanted
    assert not [event for event in forwarded if event.uninspected]
    with SchemaRegistry(Settings().registry) as registry:
        for event in (FeaturesExtracted, ChipsSettled):
            topic = topics.topic_of(event)
            values = [message.value() for message in records.committed_messages(topic.declared_as)]
            if event is ChipsSettled:
                values += records.noted("toy", topic.declared_as)
            both = {registry.id_of(topic), next_schemas[event]}
            assert {PREFIX.unpack_from(value)[1] for value in values} == both, f"both wrote {event.SCHEMA}"


def _as_next(event: type[Event]) -> dict[str, Any]:
    return with_a_station(json.loads(schema_source(event)))


def _send_as_next(records: Records, schema_id: int, events: Sequence[ImageCaptured]) -> None:
    schema = fastavro.parse_schema(_as_next(ImageCaptured), named_schemas={})
    for event in events:
        value = io.BytesIO(PREFIX.pack(MAGIC, schema_id))
        value.seek(PREFIX.size)
        fastavro.schemaless_writer(value, schema, {**to_record(ImageCaptured)(event), "station": "press 3"})
        headers = to_headers(identity_of(event))
        records.send_bytes("images", value.getvalue(), event.line_id.encode(), headers=headers)
