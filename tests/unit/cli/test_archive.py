"""What Kafka still has about a chip is told from what is about another, and gone only where a broker has said so."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from services.cli import reading
from services.cli.archive import CLOCKS_DIFFER, Archive, Found, NoVerdict, PictureGone
from shared.errors import ConfigurationError
from shared.events import Event, ImagePointer
from shared.kafka import BrokerUnavailable
from shared.settings import Settings
from shared.topics import load_topics
from shared.wire.codec import Codec
from tests.contract.examples import EXAMPLES
from tests.events_of_chips import NOON
from tests.registry_double import RegistryInMemory

TOPICS = load_topics()
CAPTURED = EXAMPLES["ImageCaptured"]
POINTER = ImagePointer(topic="images", partition=1, offset=7, sha256=CAPTURED.sha256)
VERDICT = replace(EXAMPLES["ChipInspected"], event_id=CAPTURED.event_id, image=POINTER)
CODEC = Codec(RegistryInMemory(), TOPICS)
SECOND = timedelta(seconds=1)


class Broker:
    """Has the offsets 5 to 9; its leader has moved for so many questions; polls give the answers in turn."""

    def __init__(self, *answers: Any, moves: int = 0) -> None:
        self._answers = list(answers)
        self._moves = moves

    def get_watermark_offsets(self, _place: object, *, timeout: float) -> tuple[int, int]:
        if self._moves:
            self._moves -= 1
            raise KafkaException(KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION))
        return 5, 10

    def assign(self, _places: object) -> None:
        pass

    def poll(self, _timeout_s: float) -> Any:
        return self._answers.pop(0) if self._answers else None


def record(offset: int, value: bytes, came: datetime = CAPTURED.captured_at, event_id: str = VERDICT.event_id) -> Any:
    answers = {
        "error": None,
        "topic": "inspections",
        "partition": 4,
        "offset": offset,
        "key": b"",
        "value": value,
        "timestamp": (1, round(came.timestamp() * 1000)),
        "headers": [("event_id", event_id.encode())],
    }
    return SimpleNamespace(**{name: lambda answer=answer: answer for name, answer in answers.items()})


def problem(code: int, *, retriable: bool = False) -> Any:
    return SimpleNamespace(error=lambda: KafkaError(code, retriable=retriable))


def archive(broker: Broker) -> Archive:
    return Archive(Settings(), TOPICS, CODEC, broker)  # type: ignore[arg-type]  # doubles


def test_a_partition_whose_leader_changes_is_asked_again() -> None:
    moved = problem(KafkaError.NOT_LEADER_FOR_PARTITION, retriable=True)
    broker = Broker(moved, None, record(7, CODEC.encode(CAPTURED)), moves=2)
    assert archive(broker).captured(VERDICT) == CAPTURED


def test_a_place_after_which_the_partition_ends_holds_nothing() -> None:
    with pytest.raises(PictureGone, match="not kept any more"):
        archive(Broker(problem(KafkaError._PARTITION_EOF))).captured(VERDICT)


def test_a_record_that_no_broker_hands_out_is_not_called_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "SILENCE_S", 1.0)
    with pytest.raises(BrokerUnavailable, match=r"partition 1 of images.*leader"):
        archive(Broker()).captured(VERDICT)


def test_a_record_that_may_not_be_read_is_not_called_gone() -> None:
    with pytest.raises(ConfigurationError, match="may not"):
        archive(Broker(problem(KafkaError.TOPIC_AUTHORIZATION_FAILED))).captured(VERDICT)


def test_a_verdict_that_is_older_than_what_is_looked_through_is_not_said_not_to_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Archive, "_about", lambda *_: iter(()))
    with pytest.raises(NoVerdict, match=r"no verdict on event e since 2026-01-01 12:00:00 UTC; without --since all"):
        archive(Broker()).verdict("e", since=NOON)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"garbage", "images:1:7 holds no picture's event"),
        (CODEC.encode(replace(CAPTURED, event_id="another")), "is about event another .* made anew"),
        (CODEC.encode(replace(CAPTURED, sha256="cd" * 32)), "another picture: was the topic made anew"),
    ],
)
def test_a_record_that_is_not_of_the_judged_picture_is_not_taken_for_it(value: bytes, why: str) -> None:
    with pytest.raises(PictureGone, match=why):
        archive(Broker(record(7, value))).captured(VERDICT)


def test_a_verdict_that_names_no_checksum_is_of_its_events_picture_and_one_without_a_place_of_none() -> None:
    unchecked = replace(VERDICT, image=replace(POINTER, sha256=None))
    assert archive(Broker(record(7, CODEC.encode(CAPTURED)))).captured(unchecked) == CAPTURED
    with pytest.raises(PictureGone, match="points to no picture"):
        archive(Broker()).captured(replace(VERDICT, image=None))


class Topic:
    """Records as `read` gives them, and what was asked for last."""

    def __init__(self) -> None:
        self.records: list[Any] = []
        self.asked: dict[str, Any] = {}

    def add(self, event: Event | bytes, after: timedelta, event_id: str = VERDICT.event_id) -> None:
        """A record that came so long after the verdict."""
        value = event if isinstance(event, bytes) else CODEC.encode(event)
        self.records.append(record(len(self.records), value, VERDICT.inspected_at + after, event_id))

    def read(self, *_: object, **asked: Any) -> Iterator[Any]:
        self.asked = asked
        yield from self.records


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> Topic:
    topic = Topic()
    monkeypatch.setattr("services.cli.archive.read", topic.read)
    return topic


def test_the_last_verdict_on_an_event_is_found_wherever_it_lies_and_those_before_are_counted(topic: Topic) -> None:
    last = replace(VERDICT, score=0.5)
    topic.add(VERDICT, SECOND)
    topic.add(last, 2 * SECOND)
    topic.add(VERDICT, 0 * SECOND)
    topic.add(VERDICT, 3 * SECOND, event_id="another")
    topic.add(b"garbage", 4 * SECOND)

    assert archive(Broker()).verdict(VERDICT.event_id) == Found(last, "inspections:4:1", 2)
    assert topic.asked == {"from_beginning": True, "follow": False, "since": None, "partition": None}


def test_of_chips_that_share_an_event_id_the_one_that_is_named_is_found(topic: Topic) -> None:
    topic.add(VERDICT, 0 * SECOND)
    topic.add(replace(VERDICT, chip_id="another"), SECOND)
    since = VERDICT.inspected_at

    found = archive(Broker()).verdict(VERDICT.event_id, chip=VERDICT.chip_id, since=since)

    assert found == Found(VERDICT, "inspections:4:0", 0)
    assert (topic.asked["from_beginning"], topic.asked["since"]) == (False, since)
    with pytest.raises(NoVerdict, match=f"event {VERDICT.event_id} and chip nobody"):
        archive(Broker()).verdict(VERDICT.event_id, chip="nobody")


def test_the_features_are_the_last_of_the_judged_picture_until_it_was_judged_by_any_clock(topic: Topic) -> None:
    features = replace(EXAMPLES["FeaturesExtracted"], image=POINTER)
    another = replace(features, image=replace(POINTER, offset=8))
    too_late = CLOCKS_DIFFER + SECOND
    topic.add(features, -SECOND)
    topic.add(replace(features, height=1), SECOND)
    topic.add(another, 2 * SECOND)
    topic.add(another, too_late)
    topic.add(features, too_late)

    assert archive(Broker(record(7, b""))).features(VERDICT) == replace(features, height=1)

    assert (topic.asked["since"], topic.asked["partition"]) == (CAPTURED.captured_at - CLOCKS_DIFFER, 1)
    assert archive(Broker()).features(replace(VERDICT, image=None)) is None
