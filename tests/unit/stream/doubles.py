"""What the runtime needs from Kafka, in memory: consumer and pasts in the main thread's hands, commits in another's."""

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from threading import get_ident

from confluent_kafka import KafkaException, TopicPartition

from shared.events import Event
from shared.stream.errors import TransactionFailed
from shared.stream.notes import outputs_in
from shared.stream.recall import Past, Recall
from shared.stream.record import Output
from shared.wire.codec import Codec

TOPIC = "images"


class MessageDouble:
    """A record as the client returns it."""

    def __init__(
        self,
        partition: int,
        offset: int,
        value: bytes,
        key: bytes = b"line-1",
        headers: list[tuple[str, bytes]] | None = None,
    ) -> None:
        self._place = (partition, offset)
        self._value = value
        self._key = key
        self._headers = headers

    def error(self) -> None:
        return None

    def topic(self) -> str:
        return TOPIC

    def partition(self) -> int:
        return self._place[0]

    def offset(self) -> int:
        return self._place[1]

    def key(self) -> bytes:
        return self._key

    def value(self) -> bytes:
        return self._value

    def headers(self) -> list[tuple[str, bytes]] | None:
        return self._headers

    def timestamp(self) -> tuple[int, int]:
        return (1, 1_767_225_600_000)


class Positions(dict[int, int]):
    """Where a consumer stands, by partition; called as the client's method of the same name is."""

    def __call__(self, places: list[TopicPartition]) -> list[TopicPartition]:
        return [TopicPartition(place.topic, place.partition, self[place.partition]) for place in places]


class ConsumerDouble:
    """A log of each partition, read from a position; between polls the test acts through `between_polls`."""

    def __init__(self, log: dict[int, list[bytes]]) -> None:
        self.log = log
        self.headers: dict[tuple[int, int], list[tuple[str, bytes]]] = {}
        """Those of single records, by partition and offset."""
        self.position = Positions(dict.fromkeys(log, 0))
        self.first: dict[int, int] = {}
        self.committed_offsets: dict[int, int] = {}
        self.paused: set[int] = set()
        self.assigned: set[int] = set()
        self.between_polls: deque[Callable[[], None]] = deque()
        self.seek_fails = 0
        self.sought: list[int] = []
        self.unsubscribed = 0
        self._thread = get_ident()

    def subscribe(self, topics: list[str], on_assign: object, on_revoke: object, on_lost: object) -> None:
        assert topics == [TOPIC]
        self._on_assign, self._on_revoke, self._on_lost = on_assign, on_revoke, on_lost
        self.between_polls.appendleft(lambda: self.assign(set(self.log)))
        if self.assigned:
            self.between_polls.appendleft(lambda: self.revoke(set(self.assigned)))

    def unsubscribe(self) -> None:
        self.unsubscribed += 1

    def assign(self, partitions: set[int]) -> None:
        self._on_assign(self, [TopicPartition(TOPIC, partition) for partition in partitions])
        assert self.assigned >= partitions

    def incremental_assign(self, places: list[TopicPartition]) -> None:
        for place in places:
            self.position[place.partition] = place.offset
            self.assigned.add(place.partition)

    def revoke(self, partitions: set[int]) -> None:
        self._on_revoke(self, [TopicPartition(TOPIC, partition) for partition in partitions])
        self.assigned -= partitions

    def lose(self, partitions: set[int]) -> None:
        self._on_lost(self, [TopicPartition(TOPIC, partition) for partition in partitions])
        self.assigned -= partitions

    def consumer_group_metadata(self) -> str:
        assert get_ident() == self._thread, "the client would answer only once it is not polled any more"
        return "membership"

    def consume(self, number: int, timeout_s: float) -> list[MessageDouble]:
        found = []
        for partition in sorted(self.assigned - self.paused):
            while len(found) < number and self.position[partition] < len(self.log[partition]):
                offset = self.position[partition]
                headers = self.headers.get((partition, offset))
                found.append(MessageDouble(partition, offset, self.log[partition][offset], headers=headers))
                self.position[partition] += 1
        # After records were taken from the queue, as within a real poll.
        if self.between_polls:
            self.between_polls.popleft()()
        return found

    def get_watermark_offsets(self, place: TopicPartition, *, cached: bool) -> tuple[int, int]:
        assert cached, "asking the broker would hold up the loop"
        return self.first.get(place.partition, 0), len(self.log[place.partition])

    def seek(self, place: TopicPartition) -> None:
        if self.seek_fails:
            self.seek_fails -= 1
            raise KafkaException("erroneous state")
        self.position[place.partition] = place.offset
        self.sought.append(place.offset)

    def pause(self, places: list[TopicPartition]) -> None:
        self.paused |= {place.partition for place in places}

    def resume(self, places: list[TopicPartition]) -> None:
        self.paused -= {place.partition for place in places}


class MembershipDouble:
    """Says as often as told that the worker is out of touch with its group."""

    def __init__(self) -> None:
        self.out_of_touch = 0

    def is_out_of_touch(self, owned: Collection[int]) -> bool:
        if not owned or not self.out_of_touch:
            return False
        self.out_of_touch -= 1
        return True


class PastsDouble:
    """Reads back, at once, the committed offset of a partition and the latest record of each key kept of it."""

    def __init__(self, consumer: ConsumerDouble, transactions: "TransactionsDouble", codec: Codec) -> None:
        self._consumer = consumer
        self._transactions = transactions
        self._codec = codec
        self.recalls: Sequence[Recall] = ()
        self.failures: deque[Exception] = deque()
        self.cut_short: list[int] = []

    def begin(self, partition: int, *, cut_short: bool = False) -> Future[Past]:
        if cut_short:
            self.cut_short.append(partition)
        future: Future[Past] = Future()
        if self.failures:
            future.set_exception(self.failures.popleft())
        else:
            topics = [recall.topic for recall in self.recalls]
            noted = outputs_in(self._transactions.notes.get(partition, ""), topics, partition)
            kept = {recall.event: self._kept(recall, partition, noted) for recall in self.recalls}
            future.set_result(Past(self._consumer.committed_offsets.get(partition, 0), kept, noted))
        return future

    def _kept(self, recall: Recall, partition: int, noted: Sequence[Output]) -> list[Event]:
        outputs = [
            output
            for output in (*self._transactions.outputs, *noted)
            if output.topic == recall.topic and output.partition == partition and recall.key in (None, output.key)
        ]
        if recall.latest is None:
            outputs = [output for output in {output.key: output for output in outputs}.values() if output.value]
        return [self._codec.decode(output.value, recall.event) for output in outputs]


class TransactionsDouble:
    """Keeps what was committed; fails as often as told, each time with the next of `failures`."""

    def __init__(self, consumer: ConsumerDouble) -> None:
        self._consumer = consumer
        self.outputs: list[Output] = []
        self.notes: dict[int, str] = {}
        self.failures: deque[TransactionFailed | None] = deque()
        self.takes_effect_though_it_fails = False
        self.before_commit: Callable[[], None] = lambda: None

    def commit(
        self, outputs: Collection[Output], offsets: Mapping[int, int], notes: Mapping[int, str], member: str
    ) -> None:
        assert member == "membership"
        assert offsets.keys() <= self._consumer.assigned, "only offsets of one's own partitions are committed"
        self.before_commit()
        failure = self.failures.popleft() if self.failures else None
        if failure is None or self.takes_effect_though_it_fails:
            for partition, offset in offsets.items():
                assert offset >= self._consumer.committed_offsets.get(partition, 0), "offsets never go back"
            self._consumer.committed_offsets |= offsets
            self.notes |= {partition: notes.get(partition, "") for partition in offsets}
            self.outputs += outputs
        if failure is not None:
            raise failure
