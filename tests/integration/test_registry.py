"""Schemas in a real registry: what it keeps, and what it refuses."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from services.cli.local_stack.stack import Addresses
from shared.settings import RegistrySettings
from shared.topics import EVENTS, Topics
from shared.wire.codec import Codec
from shared.wire.errors import IncompatibleSchema, MalformedRecord, RegistryUnavailable, SchemaNotRegistered
from shared.wire.registry import SchemaRegistry, schema_source
from tests.contract.examples import EXAMPLES
from tests.contract.test_compatibility import (
    add_a_reason,
    add_a_verdict,
    add_optional_field,
    add_required_field,
    change_a_type,
    remove_optional_field,
    remove_required_field,
)

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def registry(stack: Addresses) -> Iterator[SchemaRegistry]:
    with SchemaRegistry(RegistrySettings(url=stack.registry)) as registry:
        yield registry


def changed(source: str, change: Change) -> str:
    schema = json.loads(source)
    change(schema)
    return json.dumps(schema)


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_an_event_makes_the_round_trip(registry: SchemaRegistry, topics: Topics, name: str):
    data = Codec(registry, topics).encode(EXAMPLES[name])

    assert Codec(registry, topics).decode(data, EVENTS[name]) == EXAMPLES[name]


def test_every_subject_has_the_compatibility_that_its_topic_declares(stack: Addresses, topics: Topics):
    for topic in topics.by_name.values():
        answer = httpx2.get(f"{stack.registry}/config/{topic.subject}").json()

        assert answer["compatibilityLevel"] == topic.compatibility


def test_registering_again_changes_nothing(registry: SchemaRegistry, topics: Topics):
    assert registry.register_all(topics) == registry.register_all(topics)


@pytest.mark.parametrize("change", [add_required_field, remove_required_field, add_a_verdict, change_a_type])
def test_an_incompatible_change_is_refused_with_the_registrys_reason(
    registry: SchemaRegistry, topics: Topics, change: Change
):
    topic = topics.by_name["inspections"]
    before = registry.id_of(topic)

    with pytest.raises(IncompatibleSchema, match=r"inspections-value under FULL_TRANSITIVE: .+") as refused:
        registry.register(topic, changed(schema_source(topic.event), change))

    assert refused.value.__cause__.http_status_code == 409
    assert registry.id_of(topic) == before


@pytest.mark.parametrize("name", ["features", "lines", "settled"])
def test_what_stages_alone_read_must_be_readable_by_the_version_before_too(
    registry: SchemaRegistry, topics: Topics, name: str
):
    def leave_a_field_out(schema: dict[str, Any]) -> None:
        del schema["fields"][0]  # the new version would read the old one; a worker of the old one could not go on

    topic = topics.by_name[name]
    with pytest.raises(IncompatibleSchema, match="FULL_TRANSITIVE"):
        registry.register(topic, changed(schema_source(topic.event), leave_a_field_out))


@pytest.mark.parametrize("change", [add_optional_field, remove_optional_field, add_a_reason])
def test_a_compatible_change_is_taken_and_the_version_before_stays_readable(
    registry: SchemaRegistry, topics: Topics, change: Change
):
    topic = topics.by_name["inspections"]
    before = registry.id_of(topic)

    after = registry.register(topic, changed(schema_source(topic.event), change))

    assert after != before
    assert registry.id_of(topic) == before
    assert registry.schema_of(before) == json.loads(schema_source(topic.event))


def test_every_version_is_held_against_a_new_one_not_only_the_last(registry: SchemaRegistry, topics: Topics):
    topic = topics.by_name["rejects"]
    with_station = changed(schema_source(topic.event), add_optional_field)
    registry.register(topic, with_station)
    registry.register(topic, changed(schema_source(topic.event), remove_optional_field))  # and without the station

    def add_station_as_a_number(schema: dict[str, Any]) -> None:
        schema["fields"].append({"name": "station", "type": ["null", "int"], "default": None, "doc": "Where."})

    with pytest.raises(IncompatibleSchema):
        registry.register(topic, changed(schema_source(topic.event), add_station_as_a_number))


def test_a_version_that_was_not_registered_is_not_ready(registry: SchemaRegistry, topics: Topics):
    elsewhere = replace(topics.by_name["images"], name="nobody-made-this-topic")

    with pytest.raises(SchemaNotRegistered, match="chipsieve topics create"):
        registry.id_of(elsewhere)


def test_an_unknown_schema_id_is_the_records_fault(registry: SchemaRegistry, topics: Topics):
    with pytest.raises(MalformedRecord, match="no schema id 2147483647"):
        Codec(registry, topics).decode(b"\x00\x7f\xff\xff\xffpayload", EVENTS["ImageCaptured"])


def test_a_schema_id_that_is_no_number_of_this_registry_is_the_records_fault(registry: SchemaRegistry, topics: Topics):
    for schema_id in (0, 2**31, 2**32 - 1):
        with pytest.raises(MalformedRecord):
            Codec(registry, topics).decode(b"\x00" + schema_id.to_bytes(4, "big") + b"rest", EVENTS["ImageCaptured"])


def test_a_wrong_path_on_the_registrys_server_is_not_mistaken_for_an_unknown_schema(stack: Addresses):
    with (
        SchemaRegistry(RegistrySettings(url=stack.registry.replace("ccompat", "nowhere"))) as registry,
        pytest.raises(RegistryUnavailable, match="nowhere"),
    ):
        registry.schema_of(1)


def test_confluents_own_deserializer_reads_our_records(stack: Addresses, registry: SchemaRegistry, topics: Topics):
    from confluent_kafka.schema_registry import SchemaRegistryClient, topic_subject_name_strategy
    from confluent_kafka.schema_registry.avro import AvroDeserializer
    from confluent_kafka.serialization import MessageField, SerializationContext

    topic = topics.by_name["inspections"]
    data = Codec(registry, topics).encode(EXAMPLES["ChipInspected"])

    # By default this client asks first for "associations", a path that Apicurio does not serve; one in a thousand such
    # questions is never answered, and the client waits for ever.
    by_topic = {"subject.name.strategy": topic_subject_name_strategy}
    with SchemaRegistryClient({"url": stack.registry, "timeout": 10}) as client:
        deserialize = AvroDeserializer(client, conf=by_topic)
        record = deserialize(data, SerializationContext(topic.name, MessageField.VALUE))

    assert record["verdict"] == "UNINSPECTED"
    assert record["captured_at"] == EXAMPLES["ChipInspected"].captured_at
