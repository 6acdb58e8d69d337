"""Whether replicas add up: one, two and four of a stage whose work is a sleep, so that no core is short."""

import time
import uuid
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition
from rich.console import Console

from benchmarks.sleeping_stage import SECONDS
from benchmarks.table import Table, command
from services.cli.benchmark.rig import own_stack, send
from services.cli.line import Line
from services.gateway.producer import ImageProducer
from shared.events import FeaturesExtracted
from shared.kafka import create_topics, reader_config
from shared.settings import Settings
from shared.topics import load_topics
from shared.wire.registry import SchemaRegistry

REPLICAS = (1, 2, 4)
# Six partitions cannot be shared evenly by four: what counts is the rate while every replica has a backlog.
SETTLING_S, WINDOW_S = 2.0, 8.0
# The backlog of a partition that has a replica to itself, three times over: its lines may be few, and while the other
# replicas start, the first one has worked it off in part.
CHIPS = round(6 * 3 * (SETTLING_S + WINDOW_S) / SECONDS)
PICTURE = bytes.fromhex("89504e470d0a1a0a")  # nobody looks at it


def measure() -> Table:
    """Images a second of one, two and four replicas, and the share of one replica's rate that each of them has."""
    rates = {}
    with own_stack(Console(stderr=True)) as work:
        for replicas in REPLICAS:
            rates[replicas] = _rate(replicas, work / str(replicas))
    rows = [
        {
            "replicas": replicas,
            "images/s": round(rate, 1),
            "efficiency": round(rate / replicas / rates[1], 3),
            "of the sleep alone": round(rate * SECONDS / replicas, 3),
        }
        for replicas, rate in rates.items()
    ]
    return Table(f"Replicas of a stage that sleeps {SECONDS * 1000:.0f} ms an image", rows)


def _rate(replicas: int, logs: Path) -> float:
    settings = Settings(topic_prefix=f"bench-{uuid.uuid4().hex[:8]}-")
    topics = load_topics(prefix=settings.topic_prefix)
    create_topics(settings.kafka, topics)
    SchemaRegistry(settings.registry).register_all(topics)
    topic = topics.topic_of(FeaturesExtracted)
    consumer = Consumer(reader_config(settings.kafka, topics))
    consumer.assign([TopicPartition(topic.name, partition, 0) for partition in range(topic.partitions)])
    with ImageProducer(settings, delivery_timeout_ms=30_000, linger_ms=20) as producer:
        send(producer, "sleep", [PICTURE] * CHIPS, interval=None)
    names = ["sleeping_stage"] * replicas
    try:
        # Small batches: what comes within the window is counted by the batch.
        env = {"CHIPSIEVE_TOPIC_PREFIX": settings.topic_prefix, "CHIPSIEVE_STREAM__BATCH_SIZE": "4"}
        with Line(env, logs, names, package="benchmarks"):
            _count(consumer, SETTLING_S)
            return _count(consumer, WINDOW_S) / WINDOW_S
    finally:
        consumer.close()


def _count(consumer: Consumer, seconds: float) -> int:
    """Records that come within so many seconds."""
    ends = time.monotonic() + seconds
    count = 0
    while (left := ends - time.monotonic()) > 0:
        message = consumer.poll(left)
        count += message is not None and not message.error()
    return count


if __name__ == "__main__":
    command(measure)
