"""How many records wait for a worker, also where it does not fetch any for now."""

import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ListOffsetsResultInfo, OffsetSpec

ASK_S = 10.0  # one small request, only while partitions are paused; an alert looks at minutes
CALL_TIMEOUT_S = 5.0


class Lag:
    """Knows the ends of a worker's partitions from the client's statistics, which hear of them with each fetch.

    Of what is paused nothing is fetched, and the end that was heard last stays: there the broker is asked. Used by the
    thread that polls, and never waits.

    Args:
        new_admin: makes the client to ask with, at the first pause.
        topic: the stage's input topic, as Kafka names it.
        clock: monotonic time in seconds.
    """

    def __init__(
        self, new_admin: Callable[[], AdminClient], topic: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._new_admin = new_admin
        self._topic = topic
        self._clock = clock
        self._admin: AdminClient | None = None
        self._asked: dict[int, Future[ListOffsetsResultInfo]] = {}
        self._ask_at = 0.0
        self._ends: dict[int, int] = {}  # of what is paused, as the broker said

    def measured(self, statistics: Mapping[str, Any], following: Mapping[int, int], paused: Collection[int]) -> int:
        """Records up to the end of what is committed that have not been taken.

        Args:
            statistics: the consumer's, as its callback gets them.
            following: the next offset to be taken of each partition that is read.
            paused: the partitions of which nothing is fetched.
        """
        self._hear()
        self._ask(sorted(following.keys() & set(paused)))
        ends = {partition: end for partition, end in self._ends.items() if partition in paused}
        taken = dict(following)
        of_topic = statistics["topics"].get(self._topic, {"partitions": {}})["partitions"]
        for number, told in of_topic.items():
            partition = int(number)
            ends[partition] = max(told["ls_offset"], ends.get(partition, 0))  # negative: not known yet
            if partition in taken and partition not in paused:
                # Markers of transactions are passed over, and no record tells of them where none follows.
                taken[partition] = max(told["app_offset"], taken[partition])
        return sum(max(0, ends.get(partition, 0) - offset) for partition, offset in taken.items())

    def _ask(self, partitions: Collection[int]) -> None:
        now = self._clock()
        if self._asked or not partitions or now < self._ask_at:
            return
        self._ask_at = now + ASK_S
        try:
            self._admin = self._admin or self._new_admin()
        except KafkaException:  # its file of certificates cannot be read now
            return
        places = {TopicPartition(self._topic, partition): OffsetSpec.latest() for partition in partitions}
        asked = self._admin.list_offsets(
            places, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=CALL_TIMEOUT_S
        )
        self._asked = {place.partition: future for place, future in asked.items()}

    def _hear(self) -> None:
        if not all(answer.done() for answer in self._asked.values()):
            return
        for partition, answer in self._asked.items():
            try:
                self._ends[partition] = answer.result().offset
            except KafkaException:
                self._admin = None  # after a broker's restart, a client may go on with what it knew before
        self._asked = {}
