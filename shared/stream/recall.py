"""What a worker must know of a partition before its first record: where to begin, and what the stage kept of it.

A stage writes what it keeps in the same transaction as its outcomes and offsets: beside the offset
(`shared.stream.notes`) or into the same partition of another topic. Reading it back is exact in this order:

1. the group's committed offset and the note beside it, for which the broker waits until no transaction is pending on
   them: whatever a predecessor had under way is settled then, and all it ever wrote lies below the topic's end;
2. the topic's end as it is then, open transactions included;
3. the committed records up to that end, which cannot all be read before every transaction below it is settled.

What the note holds came after all of these records.

The input topic's own log is asked for its bounds as well: it may not reach to the offset any more
(`shared.stream.reach`).

A predecessor that is not dead, only slow, can write on, but no longer commit: the broker refuses its offsets.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Event as Flag

import structlog
from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from shared.events import Event
from shared.stream.notes import UnreadableNote, outputs_in
from shared.stream.reach import Reach, beginning
from shared.stream.record import Output
from shared.stream.worker import Worker
from shared.wire.codec import Codec
from shared.wire.errors import MalformedRecord

# A dead worker's open transaction holds up reading until its successor ends it, or the broker, after 60 s by default.
PATIENCE_S = 30.0
CALL_TIMEOUT_S = 2.0
POLL_S = 0.1  # how late a stage that is told to stop may notice
CHUNK = 1000  # records taken from the client at once

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Recall:
    """What a stage reads back."""

    topic: str
    """Its name in Kafka."""
    event: type[Event]
    key: bytes | None = None
    """Only records of this key; of all where None."""
    latest: int | None = None
    """How much to read back at least, as `weigh` counts it; where None the latest record of each key."""
    weigh: Callable[[Event], int] = lambda _event: 1


@dataclass(frozen=True, slots=True)
class Past:
    """What is known of a partition."""

    position: int
    """The offset to begin at: the group's committed one, as far as the log has it."""
    kept: Mapping[type[Event], Sequence[Event]]
    """What was read back, oldest first, the note's at the end."""
    noted: tuple[Output, ...] = ()
    """The part of it that stands in the note beside the offset."""


@dataclass(frozen=True, slots=True)
class _Value:
    """A record's, from a topic or from a note."""

    key: bytes | None
    value: bytes | None
    message: Message | None = None
    """The record; None where it stands in a note."""

    @classmethod
    def of(cls, message: Message) -> "_Value":
        return cls(message.key(), message.value(), message)

    @property
    def place(self) -> str:
        """For people."""
        if self.message is None:
            return "note"
        return f"{self.message.topic()}:{self.message.partition()}:{self.message.offset()}"


class PastReader:
    """Reads on a thread of its own, one partition after another, while the stage goes on with others.

    Args:
        new_consumer: makes a consumer of the stage's group that joins no group and reads committed records.
        new_admin: makes a client that tells the end of a topic.
        stage: its name.
        topic: the stage's input topic, as Kafka names it.
        recalls: what to read back.
        codec: decodes it.
        again: how many offsets to go back where the log was cut short below the committed one.
    """

    def __init__(
        self,
        new_consumer: Callable[[], Consumer],
        new_admin: Callable[[], AdminClient],
        *,
        stage: str,
        topic: str,
        recalls: Sequence[Recall],
        codec: Codec,
        again: int,
    ) -> None:
        self._new_consumer = new_consumer
        self._new_admin = new_admin
        self._stage = stage
        self._topic = topic
        self._recalls = recalls
        self._codec = codec
        self._again = again
        self._ended = Flag()
        self._worker = Worker("past")
        self._worker.submit(self._connect)

    def begin(self, partition: int, *, cut_short: bool = False) -> Future[Past]:
        """Read a partition's past; `cut_short` as in `shared.stream.reach.beginning`.

        The future fails with `KafkaException` where the broker, or with `NotReady` where the registry cannot be
        reached: begin again.
        """
        return self._worker.submit(self._read, partition, cut_short)

    def close(self) -> None:
        """Read no more."""
        self._ended.set()
        self._worker.submit(self._close)
        self._worker.close(2 * POLL_S)

    def _connect(self) -> None:
        self._consumer = self._new_consumer()
        self._admin = self._new_admin()

    def _close(self) -> None:
        self._consumer.close()

    def _read(self, partition: int, cut_short: bool) -> Past:
        try:
            committed, noted = self._committed(partition)
            reach = self._reach(TopicPartition(self._topic, partition))
            kept = {recall.event: self._kept(recall, partition, noted) for recall in self._recalls}
            where = f"{self._topic}:{partition}"
            position = beginning(where, committed, reach, stage=self._stage, again=self._again, cut_short=cut_short)
            return Past(position, kept, noted)
        except KafkaException:
            # It goes on asking with the leader's epoch as it was before a broker's restart, and is refused for ever
            # (librdkafka 2.16 looks for a new leader in its consumers, not in its admin clients).
            self._admin = self._new_admin()
            raise

    def _committed(self, partition: int) -> tuple[int | None, tuple[Output, ...]]:
        (place,) = self._consumer.committed([TopicPartition(self._topic, partition)], CALL_TIMEOUT_S)
        if place.error:
            raise KafkaException(place.error)
        position = None if place.offset < 0 else int(place.offset)  # negative where nothing was committed
        try:
            return position, outputs_in(place.metadata or "", [recall.topic for recall in self._recalls], partition)
        except UnreadableNote as error:  # nobody but this stage should commit offsets of its group
            log.error("not_recalled", record=f"offset of {self._topic}:{partition}", reason=str(error))
            return position, ()

    def _kept(self, recall: Recall, partition: int, noted: Iterable[Output]) -> Sequence[Event]:
        place = TopicPartition(recall.topic, partition)
        reach = self._reach(place)
        first, end = reach.first, reach.end
        of_note = [_Value(output.key, output.value) for output in noted if output.topic == recall.topic]
        if recall.latest is None:
            latest = {value.key: value for value in [*map(_Value.of, self._records(place, first, end)), *of_note]}
            return self._decoded(recall, [value for value in latest.values() if value.value])
        kept = self._decoded(recall, of_note)
        distance = recall.latest
        while end > first and sum(map(recall.weigh, kept)) < recall.latest:
            begin = max(first, end - distance)
            # All of them before the first is decoded: where that fails, a reading that is left half done would end when
            # the error is collected, on any thread, and take the next partition's assignment with it.
            chosen = [m for m in self._records(place, begin, end) if recall.key in (None, m.key())]
            kept = [*self._decoded(recall, map(_Value.of, chosen)), *kept]
            end, distance = begin, distance * 2
        return kept

    def _reach(self, place: TopicPartition) -> Reach:
        return Reach(self._offset(place, OffsetSpec.earliest()), self._offset(place, OffsetSpec.latest()))

    def _offset(self, place: TopicPartition, spec: OffsetSpec) -> int:
        # Uncommitted: the consumer's own notion of the end leaves open transactions out.
        asked = self._admin.list_offsets(
            {place: spec}, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=CALL_TIMEOUT_S
        )
        return int(asked[place].result().offset)

    def _records(self, place: TopicPartition, begin: int, end: int) -> Iterator[Message]:
        """The committed records from `begin` up to but without `end`, once all of them are settled."""
        if begin >= end:
            return
        deadline = time.monotonic() + PATIENCE_S
        self._consumer.assign([TopicPartition(place.topic, place.partition, begin)])
        try:
            while not self._ended.is_set() and time.monotonic() < deadline:
                for message in self._consumer.consume(CHUNK, POLL_S):
                    error: KafkaError | None = message.error()
                    if error is not None and error.code() != KafkaError._PARTITION_EOF:
                        raise KafkaException(error)
                    if error is None and message.offset() < end:
                        yield message
                    if message.offset() >= end - (error is None):  # the end is told by the offset after the last
                        return
        finally:
            self._consumer.unassign()  # else the client asks for more a hundred times a second, for ever
        raise KafkaException(
            KafkaError(KafkaError._TIMED_OUT, f"{place.topic}:{place.partition} has open transactions before {end}")
        )

    def _decoded(self, recall: Recall, values: Iterable[_Value]) -> list[Event]:
        events = []
        for each in values:
            try:
                events.append(self._codec.decode(each.value, recall.event))
            except MalformedRecord as error:  # nobody but this stage should write there
                log.error("not_recalled", record=each.place, reason=str(error))
        return events
