import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from services.cli.tail import What, describe, sentence
from shared.events import Event
from shared.topics import load_topics
from shared.wire.codec import Codec
from tests.contract.examples import EXAMPLES
from tests.registry_double import RegistryInMemory

TOPICS = load_topics()
CODEC = Codec(RegistryInMemory(), TOPICS)
TIMESTAMP_MS = int(datetime(2026, 11, 24, 16, 15, 1, 5000, tzinfo=UTC).timestamp() * 1000)


class Message:
    """As much of a Kafka message as is looked at."""

    def __init__(self, topic: str, value: bytes | None) -> None:
        self._topic = topic
        self._value = value

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return 3

    def offset(self) -> int:
        return 17

    def timestamp(self) -> tuple[int, int]:
        return 1, TIMESTAMP_MS

    def key(self) -> bytes:
        return b"line-1"

    def headers(self) -> list[tuple[str, bytes]]:
        return [("chip_id", b"tray 7/chip 3")]

    def value(self) -> bytes | None:
        return self._value


def shown(event: Event) -> dict:
    topic = TOPICS.topic_of(type(event))
    return json.loads(json.dumps(describe(Message(topic.name, CODEC.encode(event)), topic, CODEC)))


def test_an_inspection_is_shown_with_every_field_and_its_place():
    document = shown(EXAMPLES["ChipInspected"])

    assert document["event"] == "ChipInspected"
    assert (document["topic"], document["partition"], document["offset"]) == ("inspections", 3, 17)
    assert document["timestamp"] == "2026-11-24T16:15:01.005+00:00"
    assert document["captured_at"] == "2026-11-24T16:15:00.123+00:00"
    assert document["inspected_at"] == "2026-11-24T16:15:00.456+00:00"
    assert document["verdict"] == "UNINSPECTED"
    assert document["reason"] == "TOO_LATE"
    assert document["score"] == 4.5
    assert document["threshold"] == 2.25
    assert document["bank_version"] == "20261124T161500-ab12cd34"
    assert document["feature_space"] == "0123456789abcdef"
    assert document["regions"][0] == {"x": 10, "y": 20, "width": 30, "height": 40, "area": 900, "peak": 3.75}
    assert document["mask"] == {"height": 480, "width": 640, "counts": "`Xm0o0:001O"}
    assert document["image"]["offset"] == 2**40


@pytest.mark.parametrize("name", [TOPICS.by_name[what].event.SCHEMA for what in What])
def test_every_event_has_a_line_for_people(name: str):
    line = sentence(shown(EXAMPLES[name]))

    assert line.startswith("2026-11-24T16:15:01.005Z 3:17")
    assert "line-1" in line
    assert "\n" not in line


def test_a_record_whose_headers_and_time_cannot_be_read_is_shown_all_the_same(monkeypatch: pytest.MonkeyPatch):
    def headers(_message: Message) -> None:
        raise SystemError("returned a result with an exception set")

    monkeypatch.setattr(Message, "headers", headers)
    monkeypatch.setattr(Message, "timestamp", lambda _message: (1, -(10**15)))
    topic = TOPICS.by_name["images"]

    assert describe(Message(topic.name, b"garbage"), topic, CODEC)["event_id"] == "images:3:17"


@pytest.mark.parametrize("value", [None, b"", b"garbage"])
def test_a_record_that_cannot_be_decoded_is_shown_with_what_its_headers_tell(value: bytes | None):
    topic = TOPICS.by_name["images"]

    document = describe(Message(topic.name, value), topic, CODEC)

    assert document["event"] is None
    assert document["error"] == "MalformedRecord"
    assert document["event_id"] == "images:3:17"
    assert document["chip_id"] == "tray 7/chip 3"
    assert document["line_id"] == "line-1"
    assert "NOT DECODABLE" in sentence(document)


def test_what_a_producer_of_ones_own_wrote_does_nothing_to_the_terminal():
    line = sentence(shown(replace(EXAMPLES["ChipInspected"], chip_id="\x1b[2Jchip\n7")))

    assert r"\x1b[2Jchip\n7" in line
    assert line.isprintable()
