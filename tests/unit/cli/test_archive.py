"""A single record is asked for until a broker has answered, and is gone only where one has said so."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from services.cli import reading
from services.cli.archive import Archive, NoVerdict, PictureGone
from shared.errors import ConfigurationError
from shared.events import ImagePointer
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


def record(offset: int, value: bytes) -> Any:
    return SimpleNamespace(error=lambda: None, offset=lambda: offset, value=lambda: value)


def problem(code: int, *, retriable: bool = False) -> Any:
    return SimpleNamespace(error=lambda: KafkaError(code, retriable=retriable))


def archive(broker: Broker) -> Archive:
    return Archive(Settings(), TOPICS, Codec(RegistryInMemory(), TOPICS), broker)  # type: ignore[arg-type]  # doubles


def test_a_partition_whose_leader_changes_is_asked_again() -> None:
    broker = Broker(moves=2)
    found = archive(broker)
    broker._answers = [
        problem(KafkaError.NOT_LEADER_FOR_PARTITION, retriable=True),
        None,
        record(7, found.codec.encode(CAPTURED)),
    ]
    assert found.captured(VERDICT) == CAPTURED


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
