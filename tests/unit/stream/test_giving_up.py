"""Whatever a record is, what follows from it fits its topics."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_NOT_AVAILABLE
from hypothesis import given, settings
from hypothesis import strategies as st

from services.matcher.step import MatcherStep
from services.router.rules_file import load_rules
from services.router.step import RouterStep
from shared.errors import Uninspectable
from shared.events import (
    ChipInspected,
    DeadLetter,
    FeaturesExtracted,
    ImageCaptured,
    ImagePointer,
    Uninspected,
    UninspectedReason,
)
from shared.identity import MAX_ID_LENGTH, REPLAY_OF, identity_of, to_headers
from shared.stream import report
from shared.stream.dead_letter import KEY_BYTES
from shared.stream.judgement import Judge
from shared.stream.record import Received
from shared.stream.settled import Settled
from shared.stream.step import Source, Step
from shared.topics import load_topics
from shared.wire.codec import PREFIX, Codec
from shared.wire.registry import schema_source
from tests.events_of_chips import NOON, identity, image_captured
from tests.registry_double import RegistryInMemory
from tests.toy_stage import OnceStep, ToyStep
from tests.unit.stream.doubles import MessageDouble

TOPICS = load_topics()
REGISTRY = RegistryInMemory()
CODEC = Codec(REGISTRY, TOPICS)
LIMITS = {topic.name: topic.max_message_bytes for topic in TOPICS.by_name.values()}
STEPS: dict[str, Callable[[], Step[Any]]] = {
    "images": OnceStep,
    "features": lambda: MatcherStep(None),  # of which nothing is judged here
    "inspections": lambda: RouterStep(load_rules()),
}


def text_record(topic: str = "images", key: bytes | None = b"line-1", *headers: tuple[str, bytes | None]) -> Received:
    return Received(Source(topic, 0, 0), key, b"text", headers, NOON)


def settle(record: Received, step: Step[Any] | None = None) -> Settled:
    """The outcome of one record; all of it fits."""
    judge = Judge(step or STEPS[record.source.topic](), CODEC, TOPICS, clock=lambda: NOON)
    judgement = judge.judge([record], tick=True)
    (settled,) = judgement.settled
    for output in (*settled.outputs, *judgement.kept, *judgement.due):
        assert output.size <= LIMITS[output.topic]
    return settled


def letter_of(settled: Settled) -> DeadLetter:
    (letter,) = [output for output in settled.outputs if output.topic == "dead-letters"]
    return CODEC.decode(letter.value, DeadLetter)


@pytest.mark.parametrize("topic", STEPS)
@pytest.mark.parametrize("name", ["event_id", "chip_id", "line_id", "product", REPLAY_OF])
def test_a_header_of_any_length_is_carried_on_in_short(topic: str, name: str):
    settled = settle(text_record(topic, b"line-1", (name, "ü".encode() * 1_200_000)))
    assert settled.given_up.reason is UninspectedReason.MALFORMED_RECORD
    assert all(len(value) <= 2 * MAX_ID_LENGTH for output in settled.outputs for _, value in output.headers)


@pytest.mark.parametrize("topic", STEPS)
def test_a_key_of_any_length_is_carried_on_in_short(topic: str):
    settled = settle(text_record(topic, b"l" * 600_000))
    assert len(settled.identity.line_id) == MAX_ID_LENGTH
    assert letter_of(settled).key == b"l" * 600_000


def test_chips_whose_long_ids_begin_alike_stay_two_chips():
    first, again, second = (
        settle(text_record("images", b"line-1", ("event_id", b"x" * 5000 + end))) for end in (b"1", b"1", b"2")
    )
    assert first.identity == again.identity != second.identity


def test_where_not_even_the_headers_fit_the_dead_letter_says_where_the_record_lies():
    record = replace(text_record(), key=b"k" * 1000, headers=(("a" * 70_000, b""),) * 130)
    letter = letter_of(settle(record))
    assert (letter.value, letter.headers, letter.key) == (None, (), b"k" * KEY_BYTES)
    assert letter.dead_letter_id == "toy:images:0:0"
    assert "headers left out" in letter.detail


def test_where_the_value_does_not_fit_the_dead_letter_keeps_key_and_headers():
    record = replace(text_record(), value=bytes(8_600_000), headers=(("a", b"b"),))
    letter = letter_of(settle(record))
    assert (letter.value, letter.key, len(letter.headers)) == (None, b"line-1", 1)
    assert "value left out" in letter.detail


def test_an_event_with_overlong_ids_is_given_up_under_short_ones():
    step = ToyStep()
    event = image_captured(b"picture", 1, event_id="e" * 600, product="p" * MAX_ID_LENGTH)
    record = Received(
        Source("images", 0, 0), b"line-1", CODEC.encode(event), tuple(to_headers(identity_of(event))), NOON
    )
    settled = settle(record, step)
    assert step.batches == []
    assert settled.given_up.detail == "event_id: more than 500 characters; use shorter ids"
    assert (settled.identity.chip_id, settled.identity.product) == ("chip-1", "p" * MAX_ID_LENGTH)
    assert len(settled.identity.event_id) == MAX_ID_LENGTH
    assert letter_of(settled).value == record.value


def test_what_is_said_of_an_overlong_chip_is_no_overlong_event_for_the_next_stage():
    (output, _) = settle(text_record("images", b"\xf0\x9f\x94\xa5" * 9000)).outputs
    onward = Received(Source("features", 0, 0), output.key, output.value, tuple(output.headers), NOON)
    assert settle(onward).given_up is None


@pytest.mark.parametrize(
    "type_of_time",
    ["long", {"type": "long", "logicalType": "local-timestamp-millis"}],
    ids=["a number", "a time of no zone"],
)
def test_an_event_written_with_a_schema_that_means_something_else_is_malformed(type_of_time: Any):
    schema = json.loads(schema_source(ImageCaptured))
    for field in schema["fields"]:
        if field["name"] == "captured_at":
            field["type"] = type_of_time
    value = PREFIX.pack(0, REGISTRY.add(schema)) + CODEC.encode(image_captured(b"picture"))[PREFIX.size :]
    settled = settle(replace(text_record(), value=value))
    assert settled.given_up.reason is UninspectedReason.MALFORMED_RECORD


def test_where_the_events_own_words_do_not_fit_they_are_left_out():
    long_story = Uninspected(reason=UninspectedReason.OTHER, detail="x" * 3_000_000, stage="extractor")
    event = FeaturesExtracted(**identity(3).fields(), image=None, uninspected=long_story)
    settled = settle(Received(Source("features", 0, 0), b"line-1", CODEC.encode(event), (), NOON))
    assert settled.given_up.reason is UninspectedReason.OTHER
    (output,) = [output for output in settled.outputs if output.topic == "inspections"]
    assert CODEC.decode(output.value, ChipInspected).event_id == "event-3"


def test_where_the_step_cannot_even_say_uninspected_of_an_event_it_says_it_without():
    class Stumbling(ToyStep):
        def uninspected(self, identity, source, cause, event):
            return [event.nothing_of_the_kind] if event else super().uninspected(identity, source, cause, event)

    event = image_captured(b"picture", 4, product="poison")
    headers = tuple(to_headers(identity_of(event)))
    settled = settle(Received(Source("images", 0, 0), b"line-1", CODEC.encode(event), headers, NOON), Stumbling())
    assert (settled.identity.event_id, settled.given_up.reason) == ("event-4", UninspectedReason.UNKNOWN_PRODUCT)


def test_a_cause_may_quote_what_is_no_unicode():
    step = ToyStep()
    step.process = lambda records: [Uninspectable("no file \udcff")]
    event = image_captured(b"picture")
    settled = settle(Received(Source("images", 0, 0), b"line-1", CODEC.encode(event), (), NOON), step)
    assert letter_of(settled).detail == "no file ?"


def test_a_malformed_record_whose_dead_letter_the_broker_refused_leaves_one_without_its_value():
    record = text_record()
    (settled,) = Judge(OnceStep(), CODEC, TOPICS).judge([record], refused={record.source}).settled
    assert letter_of(settled).value is None


@pytest.mark.parametrize("milliseconds", [-62_135_596_800_000, 253_402_300_799_999], ids=["the year 1", "9999"])
def test_a_chip_of_any_time_is_told_of(milliseconds: int):
    times = [(name, b"%d" % milliseconds) for name in ("captured_at", "verdict_by")]
    record = replace(text_record("images", b"line-1", *times), timestamp=datetime.max.replace(tzinfo=UTC))
    report.committed("timeless", [settle(record)], 0.1)


class AnyMessage(MessageDouble):
    """A record as hypothesis makes it up."""

    def __init__(self, topic: str, key: bytes | None, value: bytes | None, headers: Any, time: tuple[int, int]) -> None:
        super().__init__(0, 0, value, key)
        self._topic, self._headers, self._time = topic, headers, time

    def topic(self) -> str:
        return self._topic

    def headers(self) -> Any:
        if self._headers == "unreadable":
            raise SystemError("returned a result with an exception set")
        return self._headers

    def timestamp(self) -> tuple[int, int]:
        return self._time


def long_bytes() -> st.SearchStrategy[bytes]:
    repeated = st.builds(
        lambda unit, times: unit * times, st.binary(max_size=4), st.sampled_from([130, 70_000, 300_000])
    )
    return st.binary(max_size=60) | repeated


def values(topic: str) -> st.SearchStrategy[bytes | None]:
    """Bytes that are no event, or begin as one, or are one with odd contents."""
    event = TOPICS.by_name[topic].event
    begun = st.builds(
        lambda rest: PREFIX.pack(0, REGISTRY.id_of(TOPICS.topic_of(event))) + rest, st.binary(max_size=99)
    )
    number = st.sampled_from([0, 499, 500, 501, 90_000])
    ids = st.builds(lambda text, times: (text * times) or "x", st.text(max_size=3), number)
    odd = st.builds(_encoded, st.just(event), st.tuples(ids, ids, ids, ids), st.text(max_size=9), number)
    return st.none() | long_bytes() | begun | (odd if event in (ImageCaptured, FeaturesExtracted) else begun)


def _encoded(event: type, ids: tuple[str, str, str, str], text: str, times: int) -> bytes:
    about = dict(zip(("event_id", "chip_id", "line_id", "product"), ids, strict=True)) | {"captured_at": NOON}
    if event is ImageCaptured:
        return CODEC.encode(ImageCaptured(**about, sha256=text * times, image_uri=text))
    because = Uninspected(reason=UninspectedReason.OTHER, detail=text * times, stage=text)
    pointer = ImagePointer(topic=text * times, partition=0, offset=0)
    return CODEC.encode(FeaturesExtracted(**about, image=pointer, uninspected=because))


NAMES = st.sampled_from(
    ["event_id", "chip_id", "line_id", "product", "captured_at", "verdict_by", REPLAY_OF, "traceparent", "", "x"]
)
HEADERS = st.none() | st.just("unreadable") | st.lists(st.tuples(NAMES, st.none() | long_bytes()), max_size=6)
TIMES = st.tuples(st.sampled_from([TIMESTAMP_NOT_AVAILABLE, TIMESTAMP_CREATE_TIME]), st.integers(-(2**63), 2**63 - 1))


@pytest.mark.parametrize("topic", STEPS)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_whatever_a_record_is_it_has_an_outcome_that_fits(topic: str, data: st.DataObject):
    key, value = data.draw(st.none() | long_bytes()), data.draw(values(topic))
    received = Received.from_message(AnyMessage(topic, key, value, data.draw(HEADERS), data.draw(TIMES)))
    assert received.timestamp >= datetime.min.replace(tzinfo=UTC)
    settled = settle(received)
    assert settled.outputs
