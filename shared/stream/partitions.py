"""The partitions of the input topic that this worker reads: owned, begun, paused."""

from collections.abc import Collection

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

log = structlog.get_logger()


class Partitions:
    """What the consumer owns of one topic. Used by the main thread.

    Of an owned partition nothing is taken until `begin` said where, and the consumer could be sent there. From there on
    every record is taken once.

    librdkafka 2.16 goes back to where `auto.offset.reset` points if it was still looking that up when it was sent
    elsewhere (its issue 2256: 45 of 240 partitions that were sent within a second of their assignment), and then
    delivers again what it has delivered before. So it is given an offset at once, at which there is nothing to look up
    but where records have expired; and what comes from further back than expected is not taken.
    """

    def __init__(self, consumer: Consumer, topic: str) -> None:
        self._consumer = consumer
        self._topic = topic
        self._paused: set[int] = set()
        self._to_begin: dict[int, int] = {}  # at an offset, as soon as the consumer can be sent there
        self._next: dict[int, int] = {}  # the offset from which on records of a begun partition are taken
        self._astray: set[int] = set()  # delivered from further back, and to be sent to `_next` again
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
        self._paused -= set(partitions)

    def stop(self, partitions: Collection[int]) -> None:
        """Take nothing of these until they are begun anew."""
        for partition in partitions:
            self.begun.pop(partition, None)
            self._to_begin.pop(partition, None)
            self._next.pop(partition, None)
        self._astray -= set(partitions)

    def begin(self, partition: int, offset: int) -> None:
        """Take an owned partition's records from an offset on, as soon as `seek` is called.

        Not at once: called from a rebalance, records fetched before it may be in the poll that is under way.
        """
        self._to_begin[partition] = offset

    def seek(self) -> None:
        """Do what `begin` was asked for, or leave it for the next time. To be called outside of any poll."""
        for partition, offset in sorted(self._to_begin.items()):
            if self._sent(partition, offset):
                del self._to_begin[partition]
                self.begun[partition] = self._next[partition] = offset
        for partition in sorted(self._astray):
            if self._sent(partition, self._next[partition]):
                self._astray.discard(partition)

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
        if partition not in self.begun:
            return False
        if offset < self._next[partition]:
            if partition not in self._astray:
                log.warning("delivered_again", partition=partition, offset=offset, expected=self._next[partition])
                self._astray.add(partition)
            return False
        self._next[partition] = offset + 1
        return True

    def pause(self) -> None:
        """Fetch no more of what is owned; polling goes on, so that the group keeps this worker.

        The client throws away what it has fetched ahead, so this is for standstills, not for every full buffer.
        """
        self._pause(self.owned)

    def resume(self) -> None:
        """Fetch again what has begun, and nothing else."""
        self._pause(self.owned - set(self.begun))
        if to_resume := self._paused & set(self.begun):
            self._consumer.resume(self._named(to_resume))
            self._paused -= to_resume

    def _pause(self, partitions: Collection[int]) -> None:
        if to_pause := set(partitions) - self._paused:
            self._consumer.pause(self._named(to_pause))
            self._paused |= to_pause

    def _named(self, partitions: Collection[int]) -> list[TopicPartition]:
        return [TopicPartition(self._topic, partition) for partition in sorted(partitions)]
