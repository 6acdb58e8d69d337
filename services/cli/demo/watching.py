"""The verdicts as a consumer outside sees them: committed, in order, with the time they could be read."""

import threading
import time

from confluent_kafka import Consumer, KafkaError, TopicPartition

from services.cli.demo.tally import SeenVerdict
from shared.errors import ChipsieveError
from shared.events import ChipInspected
from shared.kafka import reader_config
from shared.settings import Settings
from shared.topics import Topics
from shared.wire.codec import Codec


class WatchFailed(ChipsieveError):
    """Verdicts cannot be read."""


class Watcher:
    """Reads `inspections` from its present end on, on a thread, until `finish` or `close`."""

    def __init__(self, settings: Settings, topics: Topics, codec: Codec) -> None:
        self._codec = codec
        self._topic = topics.topic_of(ChipInspected)
        self._consumer = Consumer(reader_config(settings.kafka, topics))
        self._assign_from_end()
        self._lock = threading.Lock()
        self._seen: list[tuple[SeenVerdict, ChipInspected]] = []
        self._read_to: dict[int, int] = {}
        """By partition: the end of the log, as far as it was reached; markers of transactions count."""
        self._finishing = threading.Event()
        self._closing = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self._thread.start()

    def seen(self) -> list[tuple[SeenVerdict, ChipInspected]]:
        """All verdicts so far. Raises `WatchFailed` where something ended the reading."""
        with self._lock:
            if self._error:
                raise WatchFailed(
                    f"the verdicts in {self._topic.name} cannot be read any more: {self._error}"
                ) from self._error
            return list(self._seen)

    def finish(self) -> list[tuple[SeenVerdict, ChipInspected]]:
        """Read to the end of the topic, which nobody may write to any more, and return all verdicts."""
        self._finishing.set()
        self._thread.join()
        return self.seen()

    def close(self) -> None:
        """Stop reading, wherever it is; nothing happens after `finish`."""
        self._closing.set()
        self._thread.join()

    def _assign_from_end(self) -> None:
        ends = self._ends()
        self._consumer.assign([TopicPartition(self._topic.name, partition, end) for partition, end in ends.items()])

    def _ends(self) -> dict[int, int]:
        places = [TopicPartition(self._topic.name, partition) for partition in range(self._topic.partitions)]
        return {place.partition: self._consumer.get_watermark_offsets(place, timeout=10)[1] for place in places}

    def _has_read_all(self) -> bool:
        return all(self._read_to.get(partition, -1) >= end for partition, end in self._ends().items())

    def _run(self) -> None:
        try:
            while not self._closing.is_set() and not (self._finishing.is_set() and self._has_read_all()):
                message = self._consumer.poll(0.1)
                if message is None:
                    continue
                readable_at = time.time()
                if error := message.error():
                    if error.code() == KafkaError._PARTITION_EOF:
                        self._read_to[message.partition()] = message.offset()
                    continue
                inspection = self._codec.decode(message.value(), ChipInspected)
                verdict = SeenVerdict(inspection.event_id, inspection.verdict, readable_at)
                with self._lock:
                    self._seen.append((verdict, inspection))
        except Exception as error:  # whoever asks for the verdicts is told, whatever it is
            with self._lock:
                self._error = error
        finally:
            self._consumer.close()
