import gc
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec
from hypothesis import given
from hypothesis import strategies as st

from shared.events import ChipsSettled, SettledChip
from shared.stream.notes import Notes
from shared.stream.recall import PastReader, Recall
from shared.stream.record import Output
from shared.topics import load_topics
from shared.wire.codec import Codec
from shared.wire.errors import RegistryUnavailable
from tests.events_of_chips import NOON
from tests.registry_double import RegistryInMemory
from tests.unit.stream.doubles import TOPIC, MessageDouble

RECORDS = 5
CODEC = Codec(RegistryInMemory(), load_topics())


FIRST = 7
"""Offset of the first record that the partition still has."""
Written = tuple[bytes, int | None, int]
"""A record's key, how many chips it is of (None: none, a tombstone), and how many markers follow."""
KEYS = st.sampled_from([b"toy", b"other"])
NOTED = st.lists(st.tuples(KEYS, st.integers(1, 3)), max_size=3)


class ConsumerDouble:
    """Has the same records in each partition, and notes what it is given and what is taken from it, and by whom."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def committed(self, places: list[TopicPartition], timeout_s: float) -> list[TopicPartition]:
        return places

    def assign(self, places: list[TopicPartition]) -> None:
        self.calls.append(("assign", threading.current_thread().name))

    def consume(self, number: int, timeout_s: float) -> list[MessageDouble]:
        return [MessageDouble(0, offset, b"kept", key=b"toy") for offset in range(RECORDS)]

    def unassign(self) -> None:
        self.calls.append(("unassign", threading.current_thread().name))

    def close(self) -> None:
        pass


class Kept:
    """A partition of what a stage keeps, from its first record on, with gaps where markers of transactions stand."""

    def __init__(self, written: list[Written], noted: list[tuple[bytes, int]]) -> None:
        self.records: dict[int, MessageDouble] = {}
        self.end = FIRST
        for key, chips, markers in written:
            self.records[self.end] = MessageDouble(0, self.end, chips and settled(chips), key=key)
            self.end += 1 + markers
        self.note = Notes(["settled"], ())
        self.note.enter([Output("settled", 0, key, settled(chips), [], None) for key, chips in noted], ())

    def committed(self, places: list[TopicPartition], timeout_s: float) -> list[TopicPartition]:
        return [TopicPartition(TOPIC, 0, FIRST, self.note.of(0))]

    def assign(self, places: list[TopicPartition]) -> None:
        (place,) = places
        self._position = place.offset

    def consume(self, number: int, timeout_s: float) -> list[Any]:
        found = [record for offset, record in self.records.items() if offset >= self._position][:2]
        self._position = found[-1].offset() + 1 if found else self.end
        return found or [SimpleNamespace(error=lambda: KafkaError(KafkaError._PARTITION_EOF), offset=lambda: self.end)]

    def unassign(self) -> None:
        pass

    close = unassign

    def list_offsets(self, asked: dict[TopicPartition, OffsetSpec], **_: Any) -> dict[TopicPartition, Future[Any]]:
        ((place, spec),) = asked.items()
        answer: Future[Any] = Future()
        answer.set_result(SimpleNamespace(offset=self.end if isinstance(spec, type(OffsetSpec.latest())) else FIRST))
        return {place: answer}

    def read(self, recall: Recall) -> list[int]:
        """What is read back, by how many chips each is of."""
        reader = PastReader(
            lambda: self, lambda: self, stage="toy", topic=TOPIC, recalls=[recall], codec=CODEC, again=100
        )
        try:
            past = reader.begin(0).result(10)
        finally:
            reader.close()
        return [len(event.chips) for event in past.kept[ChipsSettled]]


def settled(chips: int) -> bytes:
    chip = SettledChip(digest=bytes(16), uninspected=False)
    return CODEC.encode(ChipsSettled(stage="toy", chips=(chip,) * chips, settled_at=NOON))


class AdminDouble:
    """Says where a log begins and ends."""

    def list_offsets(self, asked: dict[TopicPartition, OffsetSpec], **_: Any) -> dict[TopicPartition, Future[Any]]:
        answers: dict[TopicPartition, Future[Any]] = {place: Future() for place in asked}
        for place, spec in asked.items():
            is_latest = isinstance(spec, type(OffsetSpec.latest()))
            answers[place].set_result(SimpleNamespace(offset=RECORDS if is_latest else 0))
        return answers


class RegistryAway:
    """As the codec is while the registry is away."""

    def decode(self, data: bytes | None, expect: type) -> object:
        raise RegistryUnavailable("down")


@pytest.fixture
def collected_later() -> Iterator[None]:
    """Nothing that refers to itself is collected while the test runs, as it may be at any time, on any thread."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("collected_later")
@pytest.mark.parametrize("latest", [None, 10])
def test_a_reading_whose_records_cannot_be_decoded_is_over_before_it_fails(latest: int | None) -> None:
    consumer = ConsumerDouble()
    recall = Recall("settled", ChipsSettled, key=b"toy", latest=latest)
    reader = PastReader(
        lambda: consumer, AdminDouble, stage="toy", topic=TOPIC, recalls=[recall], codec=RegistryAway(), again=100
    )
    assert isinstance(reader.begin(0).exception(10), RegistryUnavailable)
    assert [name for name, _ in consumer.calls] == ["assign", "unassign"]
    assert len({thread for _, thread in consumer.calls}) == 1, "else it ends another partition's reading"
    reader.close()


@given(
    written=st.lists(st.tuples(KEYS, st.integers(1, 3), st.integers(0, 3)), max_size=12),
    noted=st.lists(st.tuples(st.just(b"toy"), st.integers(1, 3)), max_size=3),
    latest=st.integers(1, 12),
)
def test_as_much_as_is_asked_for_is_read_back_of_the_own_records(written, noted, latest: int) -> None:
    own = [chips for key, chips, _ in written if key == b"toy"] + [chips for _, chips in noted]
    recall = Recall("settled", ChipsSettled, key=b"toy", latest=latest, weigh=lambda event: len(event.chips))
    found = Kept(written, noted).read(recall)
    assert found == own[len(own) - len(found) :], "the latest, oldest first"
    assert sum(found) >= min(latest, sum(own))
    assert found[: len(found) - len(noted)] == [] or sum(chips for _, chips in noted) < latest


@given(
    written=st.lists(st.tuples(KEYS, st.none() | st.integers(1, 3), st.integers(0, 3)), max_size=12),
    noted=NOTED,
)
def test_of_each_key_the_latest_is_read_back_unless_it_was_forgotten(written, noted) -> None:
    latest = {key: chips for key, chips, _ in written} | dict(noted)
    found = Kept(written, noted).read(Recall("settled", ChipsSettled))
    assert sorted(found) == sorted(chips for chips in latest.values() if chips)


def test_where_the_broker_does_not_tell_the_offset_a_partition_does_not_begin() -> None:
    kept = Kept([], [])
    unknown = SimpleNamespace(error=KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART), offset=FIRST, metadata="")
    kept.committed = lambda places, timeout_s: [unknown]
    with pytest.raises(KafkaException):
        kept.read(Recall("settled", ChipsSettled))


def test_where_a_record_cannot_be_read_a_partition_does_not_begin() -> None:
    kept = Kept([(b"toy", 1, 0)], [])
    failed = SimpleNamespace(error=lambda: KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART), offset=lambda: FIRST)
    kept.consume = lambda number, timeout_s: [failed]
    with pytest.raises(KafkaException):
        kept.read(Recall("settled", ChipsSettled))


def test_where_a_transaction_stays_open_a_partition_does_not_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.stream.recall.PATIENCE_S", 0.0)
    with pytest.raises(KafkaException, match=r"settled:0 has open transactions before 8"):
        Kept([(b"toy", 1, 0)], []).read(Recall("settled", ChipsSettled))


def test_metadata_that_is_no_note_is_passed_over() -> None:
    kept = Kept([(b"toy", 2, 0)], [])
    kept.note = SimpleNamespace(of=lambda partition: "somebody else's")
    assert kept.read(Recall("settled", ChipsSettled)) == [2]
