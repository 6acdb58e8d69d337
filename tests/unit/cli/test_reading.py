"""Reading what there is of a topic ends, also where a broker does not tell where that is."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaError, KafkaException, TopicPartition

from services.cli import reading
from services.cli.reading import FAR, read, read_at
from shared.errors import ConfigurationError
from shared.kafka import BrokerUnavailable
from shared.settings import KafkaSettings
from shared.topics import load_topics

ALERTS = load_topics().by_name["alerts"]


class Broker:
    """Answers a poll with what is next in line, and then with nothing at all; each partition has its end at `end`."""

    def __init__(self, *answers: Any, end: int = 1000) -> None:
        self._answers = list(answers)
        self._end = end
        self.polls = 0
        self.moves_leader = False
        self.assigned: list[int] = []
        self.errors: list[int] = []
        """Of the next questions for ends, one each."""
        self.begins_at: dict[int, int] = {}

    def get_watermark_offsets(self, _place: object, *, timeout: float) -> tuple[int, int]:
        if self.errors:
            raise KafkaException(KafkaError(self.errors.pop(0)))
        return 0, self._end

    def list_topics(self, name: str, *, timeout: float) -> Any:
        return SimpleNamespace(topics={name: SimpleNamespace(error=None, partitions={0: None, 1: None})})

    def offsets_for_times(self, places: list[Any], *, timeout: float) -> list[Any]:
        """As while leaders change: the client raises nothing, and the place is that of the end."""
        error = KafkaError(KafkaError.FENCED_LEADER_EPOCH)
        return [SimpleNamespace(partition=place.partition, offset=OFFSET_END, error=error) for place in places]

    def assign(self, places: list[Any]) -> None:
        self.assigned += [place.offset for place in places]
        self.begins_at = {place.partition: place.offset for place in places}

    def poll(self, _timeout_s: float) -> Any:
        self.polls += 1
        assert self.polls < 10_000, "it would be asked for ever"
        return self._answers.pop(0) if self._answers else None


def message(partition: int, offset: int = 0, *, is_end: bool = False) -> Any:
    error = KafkaError(KafkaError._PARTITION_EOF) if is_end else None
    return SimpleNamespace(error=lambda: error, partition=lambda: partition, offset=lambda: offset)


def everything(broker: Broker) -> list[Any]:
    return list(read(broker, KafkaSettings(), ALERTS, from_beginning=True, follow=False))  # type: ignore[arg-type]  # a double


def test_what_there_is_is_read_to_the_end_of_each_partition() -> None:
    broker = Broker(message(0), message(1, is_end=True), None, message(0), message(0, is_end=True))
    assert len(everything(broker)) == 2


def test_a_partition_that_does_not_answer_is_named_instead_of_waited_for_without_end() -> None:
    broker = Broker(message(1), message(1, is_end=True))
    with pytest.raises(BrokerUnavailable, match=r"partitions \[0\] of alerts.*leaders"):
        everything(broker)


def test_a_silence_counts_from_the_latest_record() -> None:
    patience = round(reading.SILENCE_S / reading.POLL_S) - 1
    silence = [None] * patience
    broker = Broker(message(0), *silence, message(0), *silence, message(0, is_end=True), message(1, is_end=True))
    assert len(everything(broker)) == 2


def test_what_comes_after_the_beginning_is_left_out_and_ends_the_reading_of_a_partition_that_never_rests() -> None:
    busy = [message(0, offset) for offset in range(500)]
    broker = Broker(message(1, 0), *busy[:3], message(1, 2), *busy[3:], end=2)
    assert [(each.partition(), each.offset()) for each in everything(broker)] == [(1, 0), (0, 0), (0, 1)]


def test_a_partition_that_does_not_tell_where_a_time_begins_is_not_taken_for_one_without_records_since() -> None:
    broker = Broker(message(0, is_end=True), message(1, is_end=True))
    since = datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(BrokerUnavailable, match="no answer from Kafka"):
        list(read(broker, KafkaSettings(), ALERTS, from_beginning=False, follow=False, since=since))  # type: ignore[arg-type]  # a double


def test_a_partition_whose_leader_changes_is_asked_again() -> None:
    broker = Broker(message(0, is_end=True), message(1, is_end=True))
    broker.errors = [KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE]
    assert everything(broker) == []


def offsets_read(broker: Broker, *offsets: int) -> list[int | None]:
    found = read_at(broker, KafkaSettings(), "alerts", 0, offsets)  # type: ignore[arg-type]  # a double
    return [each and each.offset() for each in found]


def test_records_that_lie_near_one_another_are_read_in_one_go() -> None:
    broker = Broker(*(message(0, offset) for offset in range(10, 30)))
    assert offsets_read(broker, 10, 12, 12, 29) == [10, 12, 12, 29]
    assert broker.assigned == [10]


def test_a_record_far_away_is_gone_to() -> None:
    broker = Broker(message(0, 10), message(0, 11 + FAR))
    assert offsets_read(broker, 10, 11 + FAR) == [10, 11 + FAR]
    assert broker.assigned == [10, 11 + FAR]


def test_what_is_not_kept_or_was_never_committed_is_none_and_the_others_come() -> None:
    broker = Broker(message(0, 10), message(0, 14), message(0, is_end=True), end=20)
    assert offsets_read(broker, -1, 10, 12, 14, 19, 20, 10**6) == [None, 10, None, 14, None, None, None]


def test_a_partition_that_gives_nothing_at_a_place_is_named() -> None:
    with pytest.raises(BrokerUnavailable, match=r"partition 0 of alerts .*leader"):
        offsets_read(Broker(), 10)


def test_a_partition_that_does_not_answer_for_its_end_is_told_at_once() -> None:
    broker = Broker()
    broker.errors = [KafkaError.TOPIC_AUTHORIZATION_FAILED]
    with pytest.raises(
        BrokerUnavailable, match=r"partition 0 of alerts .* does not tell its end .*schemas/access.yaml"
    ):
        everything(broker)


class KnowsTimes(Broker):
    def offsets_for_times(self, places: list[Any], *, timeout: float) -> list[Any]:
        return [TopicPartition(place.topic, place.partition, place.offset) for place in places]


@pytest.mark.parametrize(
    ("where", "offset"),
    [
        ({"from_beginning": True}, OFFSET_BEGINNING),
        ({"from_beginning": False}, 1000),
        ({"from_beginning": False, "since": datetime(1970, 1, 1, 0, 1, tzinfo=UTC)}, 60_000),
        ({"from_beginning": True, "since": datetime(1970, 1, 1, 0, 1, tzinfo=UTC)}, 60_000),
        ({"from_beginning": False, "since": datetime(1969, 1, 1, tzinfo=UTC)}, 0),
    ],
)
def test_reading_begins_at_the_beginning_at_a_time_or_now(where: dict[str, Any], offset: int) -> None:
    broker = KnowsTimes()
    for partition in (None, 1):
        assert list(read(broker, KafkaSettings(), ALERTS, follow=True, partition=partition, timeout_s=0, **where)) == []  # type: ignore[arg-type]  # a double
        assert broker.begins_at == dict.fromkeys([0, 1] if partition is None else [1], offset)


def test_what_forbids_reading_is_told_and_what_passes_is_waited_for() -> None:
    passing, denied = (
        SimpleNamespace(error=lambda error=error: error)
        for error in (
            KafkaError(KafkaError._TRANSPORT, "gone for now", retriable=True),
            KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "denied"),
        )
    )
    rest = [message(0, is_end=True), message(1, is_end=True)]
    assert everything(Broker(passing, *rest)) == []
    with pytest.raises(ConfigurationError, match=r"alerts cannot be read: denied; .* schemas/access.yaml"):
        everything(Broker(denied, *rest))
