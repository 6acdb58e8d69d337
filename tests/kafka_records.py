"""Records in and out of a test's topics, and waiting for them."""

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from shared.events import Event
from shared.identity import identity_of, to_headers
from shared.kafka import past_reader_config, producer_config, reader_config
from shared.settings import Settings
from shared.stream.notes import outputs_in
from shared.topics import Topics
from shared.wire.codec import Codec
from shared.wire.registry import SchemaRegistry

T = TypeVar("T")

PATIENCE_S = 60.0  # for a machine that does many things at once; a condition that holds ends the wait at once


def wait_for(condition: Callable[[], T], what: str, *, patience_s: float = PATIENCE_S) -> T:
    """The condition's first true value."""
    deadline = time.monotonic() + patience_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {patience_s:.0f} s for {what}"
        time.sleep(0.02)
    return value


class Records:
    """A test's topics as a producer and a reader of committed records see them.

    Args:
        topics: the test's own.
        settings: where they are; from the environment by default.
    """

    def __init__(self, topics: Topics, settings: Settings | None = None) -> None:
        settings = settings or Settings()
        self._topics = topics
        self._kafka = settings.kafka
        self._prefix = settings.topic_prefix
        self._codec = Codec(SchemaRegistry(settings.registry), topics)
        self._producer = Producer(producer_config(settings.kafka, topics))

    def send(self, events: Iterable[Event]) -> None:
        """Produce events, keyed by line, with their identity in the headers, and wait until they are acknowledged."""
        for event in events:
            topic = self._topics.topic_of(type(event)).name
            headers = to_headers(identity_of(event))
            self._producer.produce(topic, self._codec.encode(event), event.line_id, headers=headers)
        assert self._producer.flush(PATIENCE_S) == 0

    def encode(self, event: Event) -> bytes:
        """The event as the value of a record."""
        return self._codec.encode(event)

    def send_bytes(self, topic: str, value: bytes | None, key: bytes | None = None, **more: object) -> None:
        """Produce anything to a topic, by the name it is declared with."""
        self._producer.produce(self._topics.by_name[topic].name, value, key, **more)
        assert self._producer.flush(PATIENCE_S) == 0

    def committed_messages(self, topic: str) -> list[Message]:
        """All committed records of a topic that are there now, partition by partition."""
        name = self._topics.by_name[topic].name
        reader = Consumer(reader_config(self._kafka, self._topics))
        try:
            waiting = set(range(self._topics.by_name[topic].partitions))
            reader.assign([TopicPartition(name, partition, 0) for partition in waiting])
            messages = []
            while waiting:
                for message in reader.consume(100, 0.05):
                    if message.error() is None:
                        messages.append(message)
                    elif message.error().code() == KafkaError._PARTITION_EOF:
                        waiting.discard(message.partition())
        finally:
            reader.close()
        return sorted(messages, key=lambda message: (message.partition(), message.offset()))

    def committed(self, topic: str) -> list[Event]:
        """The events of `committed_messages`."""
        event = self._topics.by_name[topic].event
        return [self._codec.decode(message.value(), event) for message in self.committed_messages(topic)]

    def lines_of(self, topic: str, partition: int) -> set[str]:
        """The lines whose records lie in a partition."""
        return {m.key().decode() for m in self.committed_messages(topic) if m.partition() == partition}

    def noted(self, stage: str, topic: str) -> list[bytes]:
        """What a stage has noted for a topic beside its offsets and not written there yet: values of records."""
        group, kept = f"{self._prefix}chipsieve-{stage}", self._topics.by_name[topic]
        consumed = self._topics.by_name["inspections" if stage == "router" else "images"]
        places = [TopicPartition(consumed.name, partition) for partition in range(kept.partitions)]
        reader = Consumer(past_reader_config(self._kafka, self._topics, group))
        try:
            notes = {place.partition: place.metadata or "" for place in reader.committed(places, PATIENCE_S)}
        finally:
            reader.close()
        return [each.value for partition in notes for each in outputs_in(notes[partition], [kept.name], partition)]

    def wait_for(self, topic: str, number: int) -> list[Event]:
        """The committed events of a topic, once there are that many."""

        def enough() -> list[Event] | None:
            events = self.committed(topic)
            return events if len(events) >= number else None

        return wait_for(enough, f"{number} records in {topic}")


def lose_dead_members_soon(stage: str) -> None:
    """After 2 s, for this stage's group alone, instead of the broker's 10."""
    settings = Settings()
    entry = ConfigEntry("consumer.session.timeout.ms", "2000", incremental_operation=AlterConfigOpType.SET)
    group = f"{settings.topic_prefix}chipsieve-{stage}"
    resource = ConfigResource(ResourceType.GROUP, group, incremental_configs=[entry])
    admin = AdminClient(settings.kafka.client_config())
    admin.incremental_alter_configs([resource])[resource].result(timeout=30)
