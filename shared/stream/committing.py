"""From a judgement to a transaction: which offsets and notes go with its outputs, and what holds once it is done."""

from concurrent.futures import Future

from confluent_kafka import Consumer

from shared.settings import StreamSettings
from shared.stream import report
from shared.stream.commits import Batch, Commits, Ended
from shared.stream.dead_letter import DeadLetterTally
from shared.stream.errors import ClientFailed, OutputRefused, TransactionFailed
from shared.stream.hold import Hold
from shared.stream.in_hand import InHand
from shared.stream.record import next_offsets
from shared.stream.settled import Judgement
from shared.stream.transaction import Transactions


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
        self._commits = Commits(transactions.commit)
        self._consumer = consumer
        self._in_hand = in_hand
        self._hold = hold
        self._settings = settings
        self._stage = stage
        self._tally = DeadLetterTally()

    @property
    def under_way(self) -> Future[Ended] | None:
        """The end of the commit that is under way, or was and is not taken yet."""
        return self._commits.under_way

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
        batch = Batch(settled, offsets, noted, tally, worked_s)
        self._commits.start(batch, outputs, self._consumer.consumer_group_metadata())

    def take(self, within_s: float | None) -> str | None:
        """Take note of the commit under way once it has ended (None: wait for it).

        Returns:
            Why it took no effect, as far as is known: everything in memory may be ahead of what is committed then.

        Raises:
            ClientFailed: the broker refuses a record's outcome whatever that is.
        """
        taken = self._commits.take(within_s)
        if taken is None:
            return None
        batch, commit = taken
        try:
            ended = commit.result()
        except TransactionFailed as error:
            if isinstance(error, OutputRefused):
                if error.sources <= self._in_hand.refused:
                    raise ClientFailed(f"{error}; not even the dead letter without the record's value") from error
                self._in_hand.refused |= error.sources
            report.failed(self._stage)
            return str(error)
        report.committed(self._stage, batch.settled, ended.seconds, batch.worked_s, at=ended.at)
        self._in_hand.partitions.begun |= batch.offsets
        self._tally = batch.tally
        self._in_hand.refused -= {record.received.source for record in batch.settled}
        self._hold.batch_committed()
        return None

    def close(self) -> None:
        """Commit no more; the commit that is under way goes on."""
        self._commits.close()
