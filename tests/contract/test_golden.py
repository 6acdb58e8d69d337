"""The bytes of each event, then and now."""

import io
from dataclasses import fields

import fastavro
import pytest

from shared.topics import EVENTS, load_topics
from shared.wire.codec import PREFIX, Codec
from tests.contract.examples import EXAMPLES
from tests.contract.frozen import Released, released
from tests.registry_double import RegistryInMemory

VERSIONS = [version for name in sorted(EVENTS) for version in released(name)]
NEWEST = [released(name)[-1] for name in sorted(EVENTS)]


def test_every_event_has_an_example_with_every_field_set():
    assert EXAMPLES.keys() == EVENTS.keys()
    for name, example in EXAMPLES.items():
        unset = [field.name for field in fields(example) if getattr(example, field.name) in (None, ())]
        assert unset == [], name


@pytest.mark.parametrize("version", NEWEST, ids=str)
def test_an_event_is_written_as_the_golden_bytes(version: Released):
    registry = RegistryInMemory()
    topics = load_topics()
    schema_id = registry.id_of(topics.topic_of(EVENTS[version.event]))

    written = Codec(registry, topics).encode(EXAMPLES[version.event])

    assert written == b"\x00" + schema_id.to_bytes(4, "big") + version.golden


@pytest.mark.parametrize("version", VERSIONS, ids=str)
def test_golden_bytes_of_every_release_are_still_read(version: Released):
    registry = RegistryInMemory()
    schema_id = registry.add(version.schema)
    released_fields = {field["name"] for field in version.schema["fields"]}
    example = EXAMPLES[version.event]

    event = Codec(registry, load_topics()).decode(PREFIX.pack(0, schema_id) + version.golden, type(example))

    for field in fields(example):
        if field.name in released_fields:
            assert getattr(event, field.name) == getattr(example, field.name)


@pytest.mark.parametrize("version", VERSIONS, ids=str)
def test_a_consumer_with_fastavro_alone_reads_the_golden_bytes(version: Released):
    source = io.BytesIO(version.golden)

    record = fastavro.schemaless_reader(source, fastavro.parse_schema(version.schema, named_schemas={}), None)

    assert source.read() == b""
    assert record.keys() == {field["name"] for field in version.schema["fields"]}
