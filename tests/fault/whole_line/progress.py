"""Waiting until a line has done all it had to do."""

import time

from confluent_kafka import Consumer, KafkaException, TopicPartition

from shared.kafka import reader_config
from shared.settings import Settings
from shared.topics import Topic, Topics

# Without a single new verdict or routed chip for so long, the run is over, and its account says what is missing.
STANDSTILL_S = 60.0
POLL_S = 0.2
ASK_S = 5.0


def partitions_of(topic: Topic) -> list[TopicPartition]:
    """All partitions of a topic, from the beginning."""
    return [TopicPartition(topic.name, partition, 0) for partition in range(topic.partitions)]


def wait_for_end(settings: Settings, topics: Topics, chips: int) -> None:
    """Return when that many chips have a verdict, every picture is read and all verdicts are routed.

    Or when nothing moves any more.
    """
    images, inspections = topics.by_name["images"], topics.by_name["inspections"]
    consumer = Consumer(reader_config(settings.kafka, topics, f"{settings.topic_prefix}chipsieve-router"))
    of_extractor = Consumer(reader_config(settings.kafka, topics, f"{settings.topic_prefix}chipsieve-extractor"))
    consumer.assign(partitions_of(inspections))
    judged: set[bytes] = set()
    ends: dict[int, int] = {}
    routed: dict[int, int] = {}
    moved = time.monotonic()
    try:
        while time.monotonic() - moved < STANDSTILL_S:
            for message in consumer.consume(1000, POLL_S):
                if message.error() is None:
                    moved = time.monotonic()
                    judged.add(dict(message.headers())["event_id"])
                    ends[message.partition()] = message.offset() + 1
            if len(judged) < chips:
                continue
            before, routed = routed, _committed(consumer, inspections) or routed
            if all(routed.get(partition, 0) >= end for partition, end in ends.items()) and (
                _extracted(of_extractor, images)
            ):
                return
            if routed != before:
                moved = time.monotonic()
    finally:
        consumer.close()
        of_extractor.close()


def _extracted(consumer: Consumer, images: Topic) -> bool:
    """Whether every picture was read, also those of chips that were sent twice and had their verdict before."""
    read = _committed(consumer, images)
    try:
        ends = {
            place.partition: consumer.get_watermark_offsets(place, timeout=ASK_S)[1] for place in partitions_of(images)
        }
    except KafkaException:
        return False
    return bool(read) and all(max(0, read[partition]) >= end for partition, end in ends.items())


def _committed(consumer: Consumer, topic: Topic) -> dict[int, int]:
    try:
        return {place.partition: place.offset for place in consumer.committed(partitions_of(topic), timeout=ASK_S)}
    except KafkaException:
        return {}
