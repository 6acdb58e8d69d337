"""The partitions of the input topic that this worker reads: owned, begun, held, paused."""

import time
from collections.abc import Callable, Collection

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from shared.stream.reach import tell_expired

# The client may come back to what it was looking up as long as a request takes, 60 s; after that, nothing but a log
# that was cut short sends it back from where it was reading.
LOOKED_UP_AFTER_S = 60.0

log = structlog.get_logger()


class Partitions:
    """What the consumer owns of one topic. Used by the main thread.

    Of an owned partition nothing is taken until `begin` said where, and the consumer could be sent there. From there on
    every record is taken once.

    librdkafka 2.16 goes back to where `auto.offset.reset` points if it was still looking that up when it was sent
    elsewhere (its issue 2256: 45 of 240 partitions that were sent within a second of their assignment), and then
    delivers again what it has delivered before. So it is given an offset at once, at which there is nothing to look up
    but where records have expired; and what comes from further back than expected is not taken.

    It also goes there, without a word, where the log does not have the offset that it asks for: records have expired,
    or the log was cut short (`shared.stream.reach`). In the latter case the partition is `adrift`: it is to begin anew.
    """

    def __init__(
        self, consumer: Consumer, topic: str, *, stage: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._consumer = consumer
        self._topic = topic
        self._stage = stage
        self._clock = clock
        self.paused: set[int] = set()
        """Those of which nothing is fetched."""
        self._to_begin: dict[int, int] = {}  # at an offset, as soon as the consumer can be sent there
        self.following: dict[int, int] = {}
        """The offset from which on records of a begun partition are taken."""
        self._astray: set[int] = set()  # delivered from further back, and to be sent to `following` again
        self._resent: set[int] = set()  # sent there again, and nothing has been taken since
        self._held: set[int] = set()  # begun, and nothing is taken of them for now
        self._to_resume: set[int] = set()  # not held any more, and to be sent to `following`
        self._reading: set[int] = set()  # something was taken since it began: the client's position is ours
        self._sent_at: dict[int, float] = {}  # when a begun partition was sent to where it began
        self.adrift: set[int] = set()
        """The begun partitions of which nothing is taken until they begin anew."""
        self.cut_short: set[int] = set()
        """Those of them whose log has lost records that were read."""
        self.owned: set[int] = set()
        self.begun: dict[int, int] = {}
        """The owned partitions whose records are taken, with the offset up to which they are committed."""

    def gain(self, partitions: Collection[int]) -> None:
        """These are ours from now on. To be called from the consumer's `on_assign`."""
        self._consumer.incremental_assign([TopicPartition(self._topic, partition, 0) for partition in partitions])
        self.owned |= set(partitions)
        self._pause(partitions)

    def lose(self, partitions: Collection[int]) -> None:
        """These are another's from now on."""
        self.stop(partitions)
        self.owned -= set(partitions)
        self.paused -= set(partitions)

    def stop(self, partitions: Collection[int]) -> None:
        """Take nothing of these until they are begun anew."""
        for partition in partitions:
            self.begun.pop(partition, None)
            self._to_begin.pop(partition, None)
            self.following.pop(partition, None)
            self._sent_at.pop(partition, None)
        for known in (
            self._held,
            self._to_resume,
            self._astray,
            self._resent,
            self._reading,
            self.adrift,
            self.cut_short,
        ):
            known -= set(partitions)

    def begin(self, partition: int, offset: int) -> None:
        """Take an owned partition's records from an offset on, as soon as `seek` is called.

        Not at once: called from a rebalance, records fetched before it may be in the poll that is under way.
        """
        self._to_begin[partition] = offset

    def hold(self, partition: int, offset: int) -> None:
        """Take nothing of a begun partition until `read_on`; its next record is at this offset, or after it."""
        self.following[partition] = offset
        self._held.add(partition)
        self._to_resume.discard(partition)
        self._reading.discard(partition)  # the client may stand anywhere

    def read_on(self, partition: int, offset: int) -> None:
        """Take a held partition's records again, from this offset on, as soon as `seek` is called.

        Not at once, for the same reason as in `begin`.
        """
        self.following[partition] = offset
        self._held.discard(partition)
        self._to_resume.add(partition)

    def seek(self) -> None:
        """Do what `begin` and `read_on` were asked for, or leave it for the next time.

        To be called outside of any poll.
        """
        for partition, offset in sorted(self._to_begin.items()):
            if self._sent(partition, offset):
                del self._to_begin[partition]
                self.begun[partition] = self.following[partition] = offset
                self._sent_at[partition] = self._clock()
        for partition in sorted(self._to_resume):
            if self._sent(partition, self.following[partition]):
                self._to_resume.discard(partition)
                self._astray.discard(partition)
        for partition in sorted(self._astray - self._held):
            if self._sent(partition, self.following[partition]):
                self._astray.discard(partition)
                self._resent.add(partition)

    def _sent(self, partition: int, offset: int) -> bool:
        """Whether the consumer could be sent there."""
        try:
            self._consumer.seek(TopicPartition(self._topic, partition, offset))
        except KafkaException as error:
            log.warning("not_sought", partition=partition, offset=offset, error=str(error))
            return False
        return True

    def takes(self, partition: int, offset: int) -> bool:
        """Whether a record that a poll returned is one to go on with; asked once for each, in the order of a poll."""
        if partition not in self.begun or partition in self.adrift | self._held | self._to_resume:
            return False
        expected = self.following[partition]
        if offset < expected:
            if partition not in self._astray:
                log.warning("delivered_again", partition=partition, offset=offset, expected=expected)
                self._send_back(partition)
            return False
        if offset > expected and (first := self._first(partition)) > expected:  # else it passed over mere markers
            tell_expired(f"{self._topic}:{partition}", expected, first, stage=self._stage)
        self.following[partition] = offset + 1
        self._resent.discard(partition)
        self._reading.add(partition)
        return True

    def _send_back(self, partition: int) -> None:
        if self._clock() - self._sent_at[partition] > LOOKED_UP_AFTER_S:
            self.cut_short.add(partition)
            self.adrift.add(partition)
        elif partition in self._resent:  # the log does not have what it is sent to
            self.adrift.add(partition)
        else:
            self._astray.add(partition)

    def _first(self, partition: int) -> int:
        """The log's first offset, as the client heard with the latest records."""
        bounds: tuple[int, int] | None = self._consumer.get_watermark_offsets(
            TopicPartition(self._topic, partition), cached=True
        )
        return bounds[0] if bounds else 0

    def past_markers(self, partition: int, offset: int) -> int:
        """Where to commit instead of at `offset`: after the markers of transactions there, where no more was taken.

        A marker that is left would be taken for a record that nobody read, once it has expired. To be called outside
        of any poll: within one, the client stands after records that nobody has taken yet.
        """
        astray = partition in self._astray or partition in self.adrift
        if astray or partition not in self._reading or self.following[partition] > offset:
            return offset
        (place,) = self._consumer.position([TopicPartition(self._topic, partition)])
        return max(offset, int(place.offset))

    def pause(self) -> None:
        """Fetch no more of what is owned; polling goes on, so that the group keeps this worker.

        The client throws away what it has fetched ahead, so this is for standstills, not for every full buffer.
        """
        self._pause(self.owned)

    def resume(self) -> None:
        """Fetch again what has begun and is not held, and nothing else."""
        read = set(self.begun) - self._held - self._to_resume
        self._pause(self.owned - read)
        if to_resume := self.paused & read:
            self._consumer.resume(self._named(to_resume))
            self.paused -= to_resume

    def _pause(self, partitions: Collection[int]) -> None:
        if to_pause := set(partitions) - self.paused:
            self._consumer.pause(self._named(to_pause))
            self.paused |= to_pause

    def _named(self, partitions: Collection[int]) -> list[TopicPartition]:
        return [TopicPartition(self._topic, partition) for partition in sorted(partitions)]
