"""What a worker has of its partitions: where it stands, what it has read and not judged, and what the stage knows."""

from collections.abc import Callable, Collection
from typing import Any

from confluent_kafka import Consumer

from shared.settings import StreamSettings
from shared.stream.batch import Buffer
from shared.stream.beginning import Beginnings
from shared.stream.judgement import Judge
from shared.stream.notes import Notes
from shared.stream.partitions import Partitions
from shared.stream.recall import Past, PastReader
from shared.stream.record import Received, next_offsets
from shared.stream.settled import Judgement
from shared.stream.step import Source
from shared.stream.vitals import Vitals
from shared.stream.waiting import Waiting
from shared.stream.worker import Failure, Worker


class InHand:
    """Takes partitions up and lets go of them, and gives out batches. Used by the main thread.

    Args:
        consumer: reads them.
        topic: the stage's input topic, as Kafka names it.
        stage: its name.
        pasts: reads what was kept of a partition.
        judge: told what is known of partitions, by the worker.
        worker: calls it in between batches.
        failure: what such a call fails with.
        settings: how large batches are.
        vitals: told which partitions wait.
        is_late: whether a record's chip is past its deadline now.
    """

    def __init__(
        self,
        consumer: Consumer,
        topic: str,
        *,
        stage: str,
        pasts: PastReader,
        judge: Judge[Any],
        worker: Worker,
        failure: Failure,
        settings: StreamSettings,
        vitals: Vitals,
        is_late: Callable[[Received], bool],
    ) -> None:
        self._judge = judge
        self._worker = worker
        self._failure = failure
        self._batch_size = settings.batch_size
        self.partitions = Partitions(consumer, topic, stage=stage)
        self.beginnings = Beginnings(pasts, self.partitions, self._recollect)
        self.buffer = Buffer(settings.batch_size, settings.linger_ms / 1000, is_late=is_late)
        self.waiting = Waiting(vitals, is_late=is_late)
        self.notes = Notes(
            [recall.topic for recall in judge.recalls],
            {recall.topic for recall in judge.recalls if recall.latest is None},
        )
        self.refused: set[Source] = set()
        """Records whose outcome the broker did not take."""

    @property
    def knows_only_what_is_begun(self) -> bool:
        """Whether whatever the clock makes due can be committed: with the offset of a partition that has begun.

        Between its past being recalled and the consumer being sent there, the step knows of one that has not.
        """
        begun = self.partitions.begun.keys()
        return bool(begun) and self.partitions.owned - self.beginnings.awaited <= begun

    def gain(self, partitions: Collection[int]) -> None:
        """These are ours from now on. To be called from the consumer's `on_assign`."""
        self.partitions.gain(partitions)
        self.beginnings.start(partitions)

    def lose(self, partitions: Collection[int]) -> None:
        """These are another's from now on."""
        self.buffer.drop(partitions)
        self.waiting.drop(partitions)
        self.partitions.lose(partitions)
        self.beginnings.drop(partitions)
        self.refused = {source for source in self.refused if source.partition not in partitions}
        self.notes.forget(partitions)
        self._submit(self._judge.forget, sorted(partitions))

    def drop(self) -> None:
        """Let go of all that was read."""
        self.waiting.drop()
        self.buffer.drop()

    def begin_anew(self) -> None:
        """Go back to the last commit with everything, also with what is known of each partition."""
        self.drop()
        owned = sorted(self.partitions.owned)
        self.notes.forget(owned)
        self._submit(self._judge.forget, owned)
        self.beginnings.start(owned)

    def next_batch(self) -> tuple[Received, ...]:
        """What waited and is to be tried again, and what came in of other partitions; empty where none is ready."""
        return (*self.waiting.due(self._batch_size), *self.buffer.take())

    def take_back(self, batch: Collection[Received], judgement: Judgement, *, worked_s: float) -> None:
        """What is left of a batch: partitions whose next record cannot be judged now wait, others are read on.

        Records that only had to wait until the ones before them are settled come first in the next batch.
        """
        reasons = judgement.waiting_for
        going_on = next_offsets(record for record in batch if record.source.partition not in reasons)
        for partition in self.waiting.partitions & going_on.keys():
            self.waiting.read_on(partition)
            self.partitions.read_on(partition, going_on[partition])
        self.waiting.judged({each.received.source.partition for each in judgement.settled if not each.says_nothing})
        self.buffer.drop(reasons.keys())  # read again later
        self.buffer.put_back([record for record in judgement.remaining if record.source.partition in going_on])
        first = {record.source.partition: record for record in reversed(judgement.remaining)}
        for partition, reason in reasons.items():
            self.partitions.hold(partition, first[partition].source.offset)
            self.waiting.hold(first[partition], reason, tried_s=worked_s)

    def _recollect(self, partition: int, past: Past) -> None:
        self.notes.begin(partition, past.noted)
        self._submit(self._judge.recall, partition, past.kept)

    def _submit(self, function: Callable[..., None], *arguments: Any) -> None:
        """Have the worker call a function in between batches; what it raises ends the stage."""
        self._worker.submit(function, *arguments).add_done_callback(self._failure.keep_of)
