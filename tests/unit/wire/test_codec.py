import contextlib
import copy
import json
import struct
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.events import (
    ChipInspected,
    DeadLetter,
    Event,
    FeaturesExtracted,
    Header,
    ImageCaptured,
    Uninspected,
    UninspectedReason,
    Verdict,
)
from shared.topics import EVENTS, load_topics
from shared.wire.codec import ASK_AGAIN_S, ASK_AWAY_AGAIN_S, PREFIX, UNREADABLE_REMEMBERED, Codec
from shared.wire.errors import MalformedRecord, RegistryUnavailable, UnwritableEvent
from shared.wire.registry import schema_source
from tests.registry_double import RegistryInMemory

NOW = datetime(2026, 11, 24, 16, 15, 0, 123000, tzinfo=UTC)
IDENTITY = {"event_id": "e", "chip_id": "c", "line_id": "l", "product": "p", "captured_at": NOW}
IMAGE = ImageCaptured(**IDENTITY, sha256="ab" * 32, image_bytes=b"\xff\xd8")

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
MILLISECONDS = st.integers(0, 4_000_000_000_000)


def instant(milliseconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)


@pytest.fixture
def registry() -> RegistryInMemory:
    return RegistryInMemory()


@pytest.fixture
def codec(registry: RegistryInMemory) -> Codec:
    return Codec(registry, load_topics())


EVENT = st.one_of(
    st.builds(
        ImageCaptured,
        event_id=TEXT,
        chip_id=TEXT,
        line_id=TEXT,
        product=TEXT,
        captured_at=MILLISECONDS.map(instant),
        verdict_by=st.none() | MILLISECONDS.map(instant),
        sha256=TEXT,
        image_bytes=st.none() | st.binary(),
        image_uri=st.none() | TEXT,
    ),
    st.builds(
        DeadLetter,
        dead_letter_id=TEXT,
        stage=TEXT,
        topic=TEXT,
        partition=st.integers(0, 100),
        offset=st.integers(0, 2**62),
        key=st.none() | st.binary(),
        value=st.none() | st.binary(),
        headers=st.lists(st.builds(Header, name=TEXT, value=st.none() | st.binary())).map(tuple),
        reason=st.sampled_from(UninspectedReason),
        error=TEXT,
        detail=TEXT,
        event_id=TEXT,
        chip_id=TEXT,
        line_id=TEXT,
        product=TEXT,
        failed_at=MILLISECONDS.map(instant),
    ),
    st.builds(
        ChipInspected,
        event_id=TEXT,
        chip_id=TEXT,
        line_id=TEXT,
        product=TEXT,
        captured_at=MILLISECONDS.map(instant),
        verdict=st.sampled_from(Verdict),
        uninspected=st.none()
        | st.builds(Uninspected, reason=st.sampled_from(UninspectedReason), detail=TEXT, stage=TEXT),
        score=st.none() | st.floats(allow_nan=False),
        anomaly_map=st.none(),
        mask=st.none(),
        regions=st.just(()),
        image=st.none(),
        inspected_at=MILLISECONDS.map(instant),
    ),
)


@given(event=EVENT)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_event_comes_back_as_it_was(codec: Codec, event: Event):
    assert codec.decode(codec.encode(event), type(event)) == event


def test_a_time_comes_back_in_utc(codec: Codec):
    berlin = datetime.fromisoformat("2026-11-24T17:15:00.123+01:00")

    event = codec.decode(codec.encode(replace(IMAGE, captured_at=berlin)), ImageCaptured)

    assert event.captured_at == NOW
    assert event.captured_at.tzinfo == UTC


def test_a_record_begins_with_a_zero_byte_and_the_id_of_its_schema(codec: Codec, registry: RegistryInMemory):
    schema_id = registry.id_of(load_topics().topic_of(ImageCaptured))

    assert codec.encode(IMAGE)[:5] == struct.pack(">BI", 0, schema_id)


def test_the_registry_is_asked_once_for_each_schema(codec: Codec, registry: RegistryInMemory):
    for _ in range(5):
        codec.decode(codec.encode(IMAGE), ImageCaptured)

    assert registry.questions == 1  # the id to write with; the schema to read with is the same


def test_a_registry_is_not_asked_again_and_again_for_an_id_that_it_does_not_know(registry: RegistryInMemory):
    now = [0.0]
    codec = Codec(registry, load_topics(), clock=lambda: now[0])
    for _ in range(100):
        with pytest.raises(MalformedRecord, match="the registry knows no schema id 4711"):
            codec.decode(PREFIX.pack(0, 4711) + b"x", ImageCaptured)
    assert registry.questions == 1
    now[0] = ASK_AGAIN_S
    registry.by_id[4711] = json.loads(schema_source(ImageCaptured))
    assert codec.decode(PREFIX.pack(0, 4711) + codec.encode(IMAGE)[PREFIX.size :], ImageCaptured) == IMAGE


def test_a_registry_is_not_asked_again_for_a_schema_that_cannot_be_read(codec: Codec, registry: RegistryInMemory):
    odd = registry.add({"type": "record", "name": "ImageCaptured", "fields": [{"name": "x", "type": "no such"}]})
    for _ in range(100):
        with pytest.raises(MalformedRecord, match="cannot be read"):
            codec.decode(PREFIX.pack(0, odd) + b"x", ImageCaptured)
    assert registry.questions == 1


def test_made_up_ids_do_not_fill_the_memory(codec: Codec):
    for number in range(UNREADABLE_REMEMBERED + 100):
        with pytest.raises(MalformedRecord):
            codec.decode(PREFIX.pack(0, 10_000 + number) + b"x", ImageCaptured)
    assert len(codec._unreadable) <= UNREADABLE_REMEMBERED


def test_a_prepared_codec_writes_every_event_without_the_registry(codec: Codec, registry: RegistryInMemory):
    codec.prepare()
    registry.answers = False

    assert codec.encode(IMAGE)


def test_a_prepared_codec_reads_what_this_version_wrote_without_the_registry(codec: Codec, registry: RegistryInMemory):
    data = codec.encode(IMAGE)
    other = Codec(registry, load_topics())
    other.prepare()
    registry.answers = False

    assert other.decode(data, ImageCaptured) == IMAGE


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "empty record"),
        (b"", "empty record"),
        (b"\x00", "not in Confluent's wire format"),
        (b"\x00\x00\x00\x00", "not in Confluent's wire format"),
        (b'{"chip": 7}', "not in Confluent's wire format"),
        (b"\x01\x00\x00\x00\x06rest", "not in Confluent's wire format"),
        (b"\x00\x00\x00\x03\xe7rest", "no schema id 999"),
        (b"\x00\x80\x00\x00\x00rest", "no registry gives a schema the id 2147483648"),
        (
            PREFIX.pack(0, RegistryInMemory().id_of(load_topics().topic_of(ImageCaptured))),
            "no ImageCaptured in 5 bytes",
        ),
    ],
)
def test_bytes_that_are_no_event_are_malformed(codec: Codec, data: bytes | None, message: str):
    with pytest.raises(MalformedRecord, match=message) as raised:
        codec.decode(data, ImageCaptured)
    assert raised.value.reason is UninspectedReason.MALFORMED_RECORD


def test_an_event_of_another_type_is_malformed(codec: Codec):
    with pytest.raises(MalformedRecord, match="ImageCaptured, FeaturesExtracted is expected"):
        codec.decode(codec.encode(IMAGE), FeaturesExtracted)


def test_a_record_of_a_foreign_schema_is_malformed(codec: Codec, registry: RegistryInMemory):
    foreign = registry.add({"type": "record", "name": "Order", "fields": [{"name": "amount", "type": "int"}]})
    primitive = registry.add("string")

    for schema_id in (foreign, primitive):
        with pytest.raises(MalformedRecord, match="is expected here"):
            codec.decode(struct.pack(">BI", 0, schema_id) + b"\x02", ImageCaptured)


@pytest.mark.parametrize(
    "schema",
    [
        {"name": "ImageCaptured"},
        {"type": "record", "name": "ImageCaptured", "fields": 3},
        {"type": "record", "name": "ImageCaptured", "fields": [{"name": "event_id", "type": "plant.Id"}]},
        {"type": "string", "name": "ImageCaptured"},
    ],
    ids=["no type", "no fields", "a type that stands in another schema", "no record"],
)
def test_a_record_of_a_schema_that_only_bears_our_name_is_malformed(
    codec: Codec, registry: RegistryInMemory, schema: dict[str, object]
):
    data = struct.pack(">BI", 0, registry.add(schema)) + b"\x02e"

    with pytest.raises(MalformedRecord):
        codec.decode(data, ImageCaptured)


def test_every_truncation_of_a_record_is_malformed(codec: Codec):
    data = codec.encode(IMAGE)

    for length in range(len(data)):
        with pytest.raises(MalformedRecord):
            codec.decode(data[:length], ImageCaptured)


def test_bytes_after_a_record_are_malformed(codec: Codec):
    with pytest.raises(MalformedRecord, match="1 bytes follow"):
        codec.decode(codec.encode(IMAGE) + b"\x00", ImageCaptured)


@given(name=st.sampled_from(sorted(EVENTS)), payload=st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=500)
def test_garbage_behind_a_good_prefix_never_raises_anything_else(codec: Codec, name: str, payload: bytes):
    prefix = struct.pack(">BI", 0, sorted(EVENTS).index(name) + 1)

    with contextlib.suppress(MalformedRecord):
        codec.decode(prefix + payload, EVENTS[name])


def test_a_length_beyond_all_memory_is_malformed(codec: Codec):
    event_id_of_8_exbibytes = b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"

    with pytest.raises(MalformedRecord):
        codec.decode(struct.pack(">BI", 0, 6) + event_id_of_8_exbibytes, ImageCaptured)


def test_a_registry_that_does_not_answer_is_no_fault_of_the_record_and_asked_once_for_many(registry: RegistryInMemory):
    now = [0.0]
    codec = Codec(registry, load_topics(), clock=lambda: now[0])
    other = registry.add(json.loads(schema_source(ImageCaptured)) | {"doc": "of another version"})
    data = PREFIX.pack(0, other) + codec.encode(IMAGE)[PREFIX.size :]
    registry.answers, registry.questions = False, 0

    for _ in range(16):
        with pytest.raises(RegistryUnavailable, match="down"):
            codec.decode(data, ImageCaptured)
    assert registry.questions == 1

    registry.answers = True
    now[0] = ASK_AWAY_AGAIN_S
    assert codec.decode(data, ImageCaptured) == IMAGE


def test_text_that_is_not_unicode_cannot_be_written(codec: Codec):
    with pytest.raises(UnwritableEvent, match="ImageCaptured"):
        codec.encode(replace(IMAGE, chip_id="\ud800"))


def test_a_value_of_the_wrong_type_cannot_be_written(codec: Codec):
    with pytest.raises(UnwritableEvent, match="ImageCaptured"):
        codec.encode(replace(IMAGE, chip_id=7))


def _another_version(registry: RegistryInMemory, event: type[Event], **changes: dict[str, object]) -> int:
    """Register the event's schema with fields added; the id."""
    schema = json.loads(schema_source(event))
    for name, field in changes.items():
        schema["fields"].append({"name": name, **field})
    return registry.add(schema)


def test_a_field_that_a_newer_version_added_is_passed_over(codec: Codec, registry: RegistryInMemory):
    newer = _another_version(registry, ImageCaptured, station={"type": "string", "default": ""})
    payload = codec.encode(IMAGE)[5:] + b"\x0estation"

    assert codec.decode(struct.pack(">BI", 0, newer) + payload, ImageCaptured) == IMAGE


def test_a_field_that_an_older_version_lacks_takes_its_default(codec: Codec, registry: RegistryInMemory):
    schema = json.loads(schema_source(ImageCaptured))
    assert schema["fields"].pop()["name"] == "image_uri"
    older = registry.add(schema)
    payload = codec.encode(IMAGE)[5:-1]  # without the null of image_uri

    assert codec.decode(struct.pack(">BI", 0, older) + payload, ImageCaptured) == IMAGE


def test_a_reason_that_a_newer_version_added_reads_as_other(codec: Codec, registry: RegistryInMemory):
    schema = copy.deepcopy(json.loads(schema_source(DeadLetter)))
    (reason,) = (field["type"] for field in schema["fields"] if field["name"] == "reason")
    reason["symbols"].insert(0, "TOO_DARK")
    newer = registry.add(schema)
    letter = DeadLetter(
        dead_letter_id="i",
        stage="s",
        topic="t",
        partition=0,
        offset=0,
        reason=UninspectedReason.UNDECODABLE_IMAGE,
        error="E",
        detail="d",
        event_id="e",
        chip_id="c",
        line_id="l",
        product="p",
        failed_at=NOW,
    )
    payload = codec.encode(letter)[5:]  # its reason is symbol 0

    decoded = codec.decode(struct.pack(">BI", 0, newer) + payload, DeadLetter)

    assert decoded == replace(letter, reason=UninspectedReason.OTHER)
