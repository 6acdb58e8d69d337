"""From a judgement to a transaction: which offsets and notes go with its outputs, and what holds once it is done.

A commit has a thread of its own: the main thread goes on polling meanwhile.
"""

import time
from collections.abc import Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import Consumer

from shared.settings import StreamSettings
from shared.stream import report
from shared.stream.dead_letter import DeadLetterTally
from shared.stream.errors import ClientFailed, OutputRefused, TransactionFailed
from shared.stream.hold import Hold
from shared.stream.in_hand import InHand
from shared.stream.record import next_offsets
from shared.stream.settled import Judgement, Settled
from shared.stream.transaction import Transactions
from shared.stream.worker import Worker


@dataclass(frozen=True, slots=True)
class _Ended:
    at: datetime
    seconds: float
    """How long the commit took."""


@dataclass(frozen=True, slots=True)
class _Commit:
    """A commit, and what holds once it took effect."""

    ended: Future[_Ended]
    settled: tuple[Settled, ...]
    offsets: Mapping[int, int]
    """The next to be read, by partition."""
    tally: DeadLetterTally
    worked_s: float
    """How long the work before the commit took."""


class Committing:
    """Commits one judgement at a time. Used by the main thread.

    Args:
        transactions: what commits.
        consumer: knows its membership of the group.
        in_hand: told how far partitions are committed.
        hold: told of commits that took effect.
        settings: when there are too many dead letters.
        stage: its name.
    """

    def __init__(
        self,
        transactions: Transactions,
        consumer: Consumer,
        in_hand: InHand,
        *,
        hold: Hold,
        settings: StreamSettings,
        stage: str,
    ) -> None:
        self._transactions = transactions
        self._consumer = consumer
        self._in_hand = in_hand
        self._hold = hold
        self._settings = settings
        self._stage = stage
        self._worker = Worker("commit")
        self._commit: _Commit | None = None
        self._tally = DeadLetterTally()

    @property
    def under_way(self) -> Future[Any] | None:
        """The end of the commit that is under way, or was and is not taken yet."""
        return self._commit.ended if self._commit else None

    def start(self, judgement: Judgement, *, worked_s: float, between_polls: bool = False) -> None:
        """Have outputs and offsets of a batch committed in one transaction, while no other one is under way.

        Args:
            judgement: of the batch.
            worked_s: how long it was worked on.
            between_polls: whether the consumer's position tells of markers that follow what was read.

        Raises:
            TooManyDeadLetters: the batch is not committed.
        """
        settled = judgement.settled
        partitions, notes = self._in_hand.partitions, self._in_hand.notes
        written = notes.enter(judgement.kept, partitions.begun)
        aside = [*judgement.due, *judgement.kept, *written]
        if not settled and not aside:
            return
        tally = self._tally.after((record.failure for record in settled if not record.says_nothing), self._settings)
        # Also for the partitions of which no record is settled: by these offsets the broker refuses a worker that has
        # lost them.
        offsets = {output.partition: partitions.begun[output.partition] for output in aside}
        offsets |= next_offsets(record.received for record in settled)
        if between_polls:
            offsets = {number: partitions.past_markers(number, offset) for number, offset in offsets.items()}
        noted = {partition: notes.of(partition) for partition in offsets}
        outputs = [output for record in settled for output in record.outputs] + [*judgement.due, *written]
        # Asked here: while a rebalance waits for the commit, the consumer would not answer the commit's thread.
        member = self._consumer.consumer_group_metadata()

        def timed() -> _Ended:
            began = time.monotonic()
            self._transactions.commit(outputs, offsets, noted, member)
            return _Ended(datetime.now(UTC), time.monotonic() - began)

        self._commit = _Commit(self._worker.submit(timed), settled, offsets, tally, worked_s)

    def take(self, *, at_once: bool) -> str | None:
        """Take note of the commit under way once it has ended: wait for that, or see `at_once` whether it has.

        Returns:
            Why it took no effect, as far as is known: everything in memory may be ahead of what is committed then.

        Raises:
            ClientFailed: the broker refuses a record's outcome whatever that is.
        """
        commit = self._commit
        if commit is None or (at_once and not commit.ended.done()):
            return None
        wait([commit.ended])
        self._commit = None
        try:
            ended = commit.ended.result()
        except TransactionFailed as error:
            if isinstance(error, OutputRefused):
                if error.sources <= self._in_hand.refused:
                    raise ClientFailed(f"{error}; not even the dead letter without the record's value") from error
                self._in_hand.refused |= error.sources
            report.failed(self._stage)
            return str(error)
        report.committed(self._stage, commit.settled, ended.seconds, commit.worked_s, at=ended.at)
        self._in_hand.partitions.begun |= commit.offsets
        self._tally = commit.tally
        self._in_hand.refused -= {record.received.source for record in commit.settled}
        self._hold.batch_committed()
        return None

    def close(self) -> None:
        """Commit no more; the commit that is under way goes on."""
        self._worker.close(0.0)
