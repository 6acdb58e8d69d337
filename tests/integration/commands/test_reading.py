"""Reading what there is of a topic ends, also while a line goes on writing to it."""

import threading
from collections.abc import Iterator
from itertools import islice

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from services.cli.reading import read
from shared.kafka import admin_config, producer_config, reader_config
from shared.settings import Settings
from shared.topics import Topic, Topics

EVERY_S = 0.005  # more often than an empty partition tells that it is empty


@pytest.fixture
def busy(topics: Topics) -> Iterator[Topic]:
    """A topic to which one line writes all the time."""
    topic = topics.by_name["inspections"]
    producer = Producer(producer_config(Settings().kafka, topics, linger_ms=0))
    stop, begun = threading.Event(), threading.Event()

    def write() -> None:
        while not stop.wait(EVERY_S):
            producer.produce(topic.name, key=b"line-1", value=b"verdict", on_delivery=lambda *_: begun.set())
            producer.poll(0)

    writer = threading.Thread(target=write)
    writer.start()
    assert begun.wait(60)
    yield topic
    stop.set()
    writer.join()
    producer.flush()


def test_what_there_is_is_read_to_its_end_while_more_is_written(topics: Topics, busy: Topic) -> None:
    consumer = Consumer(reader_config(Settings().kafka, topics))
    ten_seconds_worth = 2000
    everything = read(consumer, Settings().kafka, busy, from_beginning=True, follow=False)
    found = list(islice(everything, ten_seconds_worth))
    consumer.close()
    assert 0 < len(found) < ten_seconds_worth


def test_records_that_expire_while_they_are_read_cost_none_of_those_that_do_not(topics: Topics) -> None:
    topic = topics.by_name["inspections"]
    producer = Producer(producer_config(Settings().kafka, topics))
    records, expired = 8000, 7900  # twice as much as the client reads ahead
    for _ in range(records):
        producer.produce(topic.name, partition=0, value=bytes(8192))
        producer.poll(0)
    assert producer.flush(60) == 0
    consumer = Consumer(reader_config(Settings().kafka, topics))
    everything = read(consumer, Settings().kafka, topic, from_beginning=True, follow=False)
    next(everything)
    admin = AdminClient(admin_config(Settings().kafka))
    (done,) = admin.delete_records([TopicPartition(topic.name, 0, expired)]).values()
    assert done.result(20).low_watermark == expired
    found = [message.offset() for message in everything]
    consumer.close()
    assert len(found) < records
    assert set(range(expired, records)) <= set(found)
