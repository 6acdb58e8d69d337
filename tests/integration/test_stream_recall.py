"""Reading back what a stage kept of a partition, beside transactions that are open, aborted or another's."""

import time
from collections.abc import Iterator
from concurrent.futures import wait

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from shared.events import ChipsSettled, LineObserved, SettledChip, Verdict
from shared.kafka import admin_config, past_reader_config, producer_config, transactional_producer_config
from shared.settings import Settings
from shared.stream.notes import Notes
from shared.stream.recall import Past, PastReader, Recall
from shared.stream.record import TOMBSTONE, Output
from shared.topics import Topics
from shared.wire.codec import Codec
from shared.wire.registry import SchemaRegistry
from tests.events_of_chips import NOON

PARTITION = 3


class Bench:
    """Writes what a stage keeps, and reads it back."""

    def __init__(self, topics: Topics) -> None:
        self.settings = Settings()
        self.topics = topics
        self.codec = Codec(SchemaRegistry(self.settings.registry), topics)
        self.group = f"{self.settings.topic_prefix}chipsieve-toy"
        self._readers: list[PastReader] = []

    def producer(self, slot: str = "a") -> Producer:
        config = transactional_producer_config(self.settings.kafka, self.topics, f"{self.group}-{slot}")
        producer = Producer(config)
        producer.init_transactions(30)
        return producer

    def write(self, producer: Producer, event: LineObserved | ChipsSettled, *, commit: bool = True) -> None:
        producer.begin_transaction()
        key = event.stage if isinstance(event, ChipsSettled) else event.line_id
        topic = self.topics.topic_of(type(event)).name
        producer.produce(topic, self.codec.encode(event), key, partition=PARTITION)
        producer.flush(30)
        if commit:
            producer.commit_transaction(30)

    def write_pictures(self, number: int) -> None:
        producer = Producer(producer_config(self.settings.kafka, self.topics))
        for _ in range(number):
            producer.produce(self.topics.by_name["images"].name, b"picture", partition=PARTITION)
        assert producer.flush(30) == 0

    def reader(self, *recalls: Recall) -> PastReader:
        kafka, topics = self.settings.kafka, self.topics
        self._readers.append(
            PastReader(
                lambda: Consumer(past_reader_config(kafka, topics, self.group)),
                lambda: AdminClient(admin_config(kafka)),
                stage="toy",
                topic=topics.by_name["images"].name,
                recalls=recalls,
                codec=self.codec,
                again=100,
            )
        )
        return self._readers[-1]

    def past(self, *recalls: Recall) -> Past:
        """What is read back, begun again while the broker is still finding out who coordinates what."""
        reader = self.reader(*recalls)
        reading = reader.begin(PARTITION)
        while isinstance(reading.exception(30), KafkaException):
            time.sleep(0.1)  # the broker is asked again, not hammered
            reading = reader.begin(PARTITION)
        return reading.result()

    def close(self) -> None:
        for reader in self._readers:
            reader.close()


@pytest.fixture
def bench(topics: Topics) -> Iterator[Bench]:
    made = Bench(topics)
    yield made
    made.close()


def line(name: str, seen: int) -> LineObserved:
    return LineObserved(
        line_id=name,
        event_id=f"e{seen}",
        chip_id="c",
        product="p",
        verdict=Verdict.PASS,
        seen=seen,
        rejects=b"",
        streak=0,
        burst_armed=True,
        streak_armed=True,
        silence_armed=True,
        seen_at=NOON,
    )


def settled(stage: str, number: int, chips: int = 1) -> ChipsSettled:
    digests = tuple(SettledChip(digest=number.to_bytes(16, "big"), uninspected=False) for _ in range(chips))
    return ChipsSettled(stage=stage, chips=digests, settled_at=NOON)


def test_of_each_key_the_latest_committed_record_is_read_back(bench: Bench):
    producer = bench.producer()
    for seen in (1, 2, 3):
        bench.write(producer, line("line-a", seen))
    bench.write(producer, line("line-b", 7))
    bench.write(producer, line("line-a", 99), commit=False)
    producer.abort_transaction(30)
    past = bench.past(Recall(bench.topics.by_name["lines"].name, LineObserved))
    assert past.position == 0
    assert {event.line_id: event.seen for event in past.kept[LineObserved]} == {"line-a": 3, "line-b": 7}


def test_a_partition_waits_for_the_transaction_that_is_open_in_it(bench: Bench):
    producer = bench.producer()
    bench.write(producer, line("line-a", 1))
    bench.write(producer, line("line-a", 2), commit=False)
    reading = bench.reader(Recall(bench.topics.by_name["lines"].name, LineObserved)).begin(PARTITION)
    assert not wait([reading], 1.0).done
    producer.commit_transaction(30)
    assert [event.seen for event in reading.result(30).kept[LineObserved]] == [2]


def test_a_partition_waits_for_offsets_that_are_pending(bench: Bench):
    bench.write_pictures(17)
    producer = bench.producer()
    topic = bench.topics.by_name["images"].name
    consumer = Consumer(past_reader_config(bench.settings.kafka, bench.topics, bench.group))
    producer.begin_transaction()
    places = [TopicPartition(topic, PARTITION, 17)]
    producer.send_offsets_to_transaction(places, consumer.consumer_group_metadata(), 30)
    reader = bench.reader()
    reading = reader.begin(PARTITION)
    early = wait([reading], 1.0).done
    assert not early or reading.exception() is not None, "told a position while another was pending"
    producer.commit_transaction(30)
    consumer.close()
    assert reader.begin(PARTITION).result(30).position == 17


def commit_note(bench: Bench, note: str) -> None:
    bench.write_pictures(17)
    consumer = Consumer(past_reader_config(bench.settings.kafka, bench.topics, bench.group))
    producer = bench.producer()
    producer.begin_transaction()
    places = [TopicPartition(bench.topics.by_name["images"].name, PARTITION, 17, note)]
    producer.send_offsets_to_transaction(places, consumer.consumer_group_metadata(), 30)
    producer.commit_transaction(30)
    consumer.close()


def test_what_was_noted_beside_the_offset_comes_after_what_was_written(bench: Bench):
    lines, chips = bench.topics.by_name["lines"].name, bench.topics.by_name["settled"].name
    producer = bench.producer("b")
    for event in (line("line-a", 1), line("line-b", 2), settled("toy", 1), settled("toy", 2)):
        bench.write(producer, event)
    notes = Notes([chips, lines], {lines})
    later = {lines: line("line-a", 8), chips: settled("toy", 3)}
    notes.enter(
        [Output(topic, PARTITION, b"line-a", bench.codec.encode(event), [], None) for topic, event in later.items()],
        {PARTITION},
    )
    commit_note(bench, notes.of(PARTITION))
    past = bench.past(Recall(chips, ChipsSettled, b"toy", latest=2), Recall(lines, LineObserved))
    assert past.position == 17
    assert {event.line_id: event.seen for event in past.kept[LineObserved]} == {"line-a": 8, "line-b": 2}
    assert [int.from_bytes(event.chips[0].digest, "big") for event in past.kept[ChipsSettled]][-2:] == [2, 3]
    assert {output.topic for output in past.noted} == {lines, chips}


def test_metadata_that_is_no_note_is_left_out(bench: Bench):
    bench.write(bench.producer("b"), line("line-a", 1))
    commit_note(bench, "by hand")
    past = bench.past(Recall(bench.topics.by_name["lines"].name, LineObserved))
    assert (past.position, past.noted) == (17, ())
    assert [event.seen for event in past.kept[LineObserved]] == [1]


def test_the_latest_records_of_one_key_are_read_back_in_order_however_far_they_lie_apart(bench: Bench):
    producer = bench.producer()
    for number in range(60):
        bench.write(producer, settled("other", number))
        if number % 6 == 0:
            bench.write(producer, settled("toy", number, chips=2))
    topic = bench.topics.by_name["settled"].name
    recall = Recall(topic, ChipsSettled, b"toy", latest=8, weigh=lambda event: len(event.chips))
    kept = bench.past(recall).kept[ChipsSettled]
    numbers = [int.from_bytes(event.chips[0].digest, "big") for event in kept]
    assert numbers == sorted(numbers)
    assert numbers[-4:] == [36, 42, 48, 54]


def test_what_is_no_event_is_left_out(bench: Bench):
    producer = bench.producer()
    producer.begin_transaction()
    topic = bench.topics.by_name["lines"].name
    producer.produce(topic, b"garbage", "line-a", partition=PARTITION)
    producer.commit_transaction(30)
    bench.write(producer, line("line-b", 1))
    past = bench.reader(Recall(topic, LineObserved)).begin(PARTITION).result(30)
    assert [event.line_id for event in past.kept[LineObserved]] == ["line-b"]


def test_of_a_key_that_was_forgotten_nothing_is_read_back(bench: Bench):
    lines = bench.topics.by_name["lines"].name
    producer = bench.producer("b")
    for name in ("line-a", "line-b", "line-c"):
        bench.write(producer, line(name, 1))
    producer.begin_transaction()
    producer.produce(lines, None, "line-a", partition=PARTITION)
    producer.commit_transaction(30)
    notes = Notes([lines], {lines})
    notes.enter([Output(lines, PARTITION, b"line-b", TOMBSTONE, [], None)], {PARTITION})
    commit_note(bench, notes.of(PARTITION))
    past = bench.past(Recall(lines, LineObserved))
    assert [event.line_id for event in past.kept[LineObserved]] == ["line-c"]
    assert [output.value for output in past.noted] == [TOMBSTONE]
