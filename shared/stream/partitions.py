"""The partitions of the input topic that this worker reads: owned, paused, rewound."""

from collections.abc import Collection, Mapping

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

COMMITTED_TIMEOUT_S = 2.0  # as `transaction.CALL_TIMEOUT_S`; asked again at the next poll

log = structlog.get_logger()


class Partitions:
    """What the consumer owns of one topic. Used by the main thread."""

    def __init__(self, consumer: Consumer, topic: str) -> None:
        self._consumer = consumer
        self._topic = topic
        self._paused: set[int] = set()
        self._gained: set[int] = set()  # paused or not: the client keeps a lost partition as it was until it comes back
        self._rewound: dict[int, int] = {}
        self._unsure = False  # whether the broker has to be asked where to rewind to
        self.owned: set[int] = set()

    def gain(self, partitions: Collection[int]) -> None:
        """These are ours from now on."""
        self.owned |= set(partitions)
        self._gained |= set(partitions)

    def lose(self, partitions: Collection[int]) -> None:
        """These are another's from now on."""
        self.owned -= set(partitions)
        self._paused -= set(partitions)
        self._gained -= set(partitions)
        for partition in partitions:
            self._rewound.pop(partition, None)

    def pause(self) -> None:
        """Fetch no more of what is owned; polling goes on, so that the group keeps this worker.

        The client throws away what it has fetched ahead, so this is for standstills, not for every full buffer.
        """
        if to_pause := self.owned - self._paused:
            self._consumer.pause(self._named(to_pause))
            self._paused |= to_pause
            self._gained.clear()

    def resume(self) -> None:
        """Fetch again."""
        if to_resume := self._paused | self._gained:
            self._consumer.resume(self._named(to_resume))
            self._paused.clear()
            self._gained.clear()

    def rewind(self, offsets: Mapping[int, int], *, unsure: bool = False) -> None:
        """Read owned partitions again from these offsets on, as soon as `seek` is called.

        `unsure`: from the group's committed offsets on, where there are any, which may be further on.
        Not at once: called from a rebalance, records fetched before it may be in the poll that is under way.
        """
        for partition in self.owned & set(offsets):
            self._rewound[partition] = min(offsets[partition], self._rewound.get(partition, offsets[partition]))
        self._unsure = self._unsure or unsure

    def seek(self) -> None:
        """Do what `rewind` was asked for, or leave it for the next time. To be called outside of any poll."""
        if self._unsure and not self._ask():
            return
        for partition, offset in sorted(self._rewound.items()):
            try:
                self._consumer.seek(TopicPartition(self._topic, partition, offset))
            except KafkaException as error:
                # The partition stays in `_rewound` and nothing of it is taken until it can be sought, or is lost.
                log.warning("not_rewound", partition=partition, offset=offset, error=str(error))
            else:
                del self._rewound[partition]

    def _ask(self) -> bool:
        """Correct the offsets to rewind to by what the group has committed; whether the broker answered."""
        try:
            answers = self._consumer.committed(self._named(self._rewound), COMMITTED_TIMEOUT_S)
        except KafkaException as error:
            log.warning("committed_offsets_unknown", error=error.args[0].str())
            return False
        if failed := [answer for answer in answers if answer.error]:
            log.warning("committed_offsets_unknown", error=failed[0].error.str())
            return False
        for answer in answers:  # a negative offset where nothing has been committed
            self._rewound[answer.partition] = max(answer.offset, self._rewound[answer.partition])
        self._unsure = False
        return True

    def takes(self, partition: int) -> bool:
        """Whether a record that a poll returned is one to go on with."""
        return partition in self.owned and partition not in self._rewound

    def _named(self, partitions: Collection[int]) -> list[TopicPartition]:
        return [TopicPartition(self._topic, partition) for partition in sorted(partitions)]
