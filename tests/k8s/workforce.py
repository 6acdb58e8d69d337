"""One worker for every pod that runs: what a stage would take from its topic, at a pace that a test can wait for."""

import time
from threading import Event, Thread

from confluent_kafka import Consumer, Producer, TopicPartition

from shared.kafka import consumer_config, transactional_producer_config
from shared.settings import KafkaSettings
from shared.topics import Topic, Topics


class Workforce:
    """Members of a stage's consumer group, who read and commit as the stage does, and do nothing else."""

    def __init__(self, kafka: KafkaSettings, topics: Topics, topic: Topic, group: str, records_per_s: int) -> None:
        self._config = consumer_config(kafka, topics, group)
        self._topic = topic
        self._pause_s = 1 / records_per_s
        self._working: list[tuple[Event, Thread]] = []

    @property
    def number(self) -> int:
        """How many work."""
        return len(self._working)

    def become(self, number: int) -> None:
        """Have so many workers."""
        while len(self._working) > number:
            stopping, thread = self._working.pop()
            stopping.set()
            thread.join()
        while len(self._working) < number:
            stopping = Event()
            thread = Thread(target=self._work, args=(stopping,))
            thread.start()
            self._working.append((stopping, thread))

    def _work(self, stopping: Event) -> None:
        consumer = Consumer(self._config)
        try:
            consumer.subscribe([self._topic.name])
            while not stopping.is_set():
                message = consumer.poll(0.2)
                if message is not None and not message.error():
                    consumer.commit(message, asynchronous=False)
                    stopping.wait(self._pause_s)
        finally:
            consumer.close()


class Backlog:
    """Puts records into a stage's topic in transactions, as the stage before does, and says how many are not done."""

    def __init__(self, kafka: KafkaSettings, topics: Topics, topic: Topic, group: str) -> None:
        self._topic = topic
        self._producer = Producer(transactional_producer_config(kafka, topics, f"{group}-backlog"))
        self._producer.init_transactions(30)
        self._observer = Consumer(consumer_config(kafka, topics, group))
        self._places = [TopicPartition(topic.name, partition) for partition in range(topic.partitions)]

    def put(self, records: int, *, in_each_transaction: int = 600) -> None:
        for first in range(0, records, in_each_transaction):
            self._producer.begin_transaction()
            for number in range(first, min(records, first + in_each_transaction)):
                self._producer.produce(self._topic.name, b"features", partition=number % self._topic.partitions)
            self._producer.commit_transaction(30)

    def lag(self) -> int:
        """What KEDA sees: ends of the partitions, markers of transactions included, less the group's offsets."""
        committed = self._observer.committed(self._places, timeout=10)
        ends = [self._observer.get_watermark_offsets(place, timeout=10)[1] for place in self._places]
        return sum(end - max(place.offset, 0) for place, end in zip(committed, ends, strict=True))

    def close(self) -> None:
        self._observer.close()
        del self._producer  # or it looks for its broker for ever


class Clock:
    """Seconds since the last start."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began
