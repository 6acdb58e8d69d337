"""Reading what there is of a topic ends, also while a line goes on writing to it."""

import threading
import time
from collections.abc import Iterator
from itertools import islice

import pytest
from confluent_kafka import Consumer, Producer

from services.cli.reading import read
from shared.kafka import producer_config, reader_config
from shared.settings import Settings
from shared.topics import Topic, Topics

EVERY_S = 0.005  # more often than an empty partition tells that it is empty


@pytest.fixture
def busy(topics: Topics) -> Iterator[Topic]:
    """A topic to which one line writes all the time."""
    topic = topics.by_name["inspections"]
    producer = Producer(producer_config(Settings().kafka, topics, linger_ms=0))
    stop = threading.Event()

    def write() -> None:
        while not stop.wait(EVERY_S):
            producer.produce(topic.name, key=b"line-1", value=b"verdict")
            producer.poll(0)

    writer = threading.Thread(target=write)
    writer.start()
    time.sleep(1.0)
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
