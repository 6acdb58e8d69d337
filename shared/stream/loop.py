"""The loop of every stage: poll, judge a micro-batch, commit it in one transaction.

    main thread      poll ── poll ── poll ── poll ── poll ── poll ── …
                      │ batch 1       │ batch 2       │ batch 3
    worker thread     └─ judge 1 ─────┴─ judge 2 ─────┴─ judge 3 ─── …
                                      │               │
    commit thread                     └─ commit 1 ──  └─ commit 2 ── …

The worker gets the next batch before the finished one is committed, so that work and commits overlap; commits are made
one at a time, in the order of the batches: a judged batch waits for the commit before it, and the worker with it.
Nothing is committed but whole batches with their outputs.

Where a transaction fails or a batch is dropped, everything in memory may be ahead of what is committed: then all of it
is forgotten, and every partition begins anew as if it had just been assigned (`shared.stream.beginning`).
"""

import time
from collections.abc import Collection
from concurrent.futures import Future, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event as Flag
from typing import Any, Generic, TypeVar

import structlog
from confluent_kafka import Consumer

from shared.identity import ChipEvent
from shared.settings import StreamSettings
from shared.stream import report
from shared.stream.beginning import Pasts
from shared.stream.commits import Batch, Commits
from shared.stream.dead_letter import DeadLetterTally
from shared.stream.deadline import Pace, begin_by, shortest_allowance_s
from shared.stream.errors import ClientFailed, OutputRefused, TransactionFailed
from shared.stream.hold import Hold
from shared.stream.in_hand import InHand
from shared.stream.intake import Intake
from shared.stream.judgement import Judge
from shared.stream.membership import Membership
from shared.stream.rebalance import Rebalances
from shared.stream.record import Received, next_offsets
from shared.stream.settled import Judgement
from shared.stream.step import Step
from shared.stream.transaction import Transactions
from shared.stream.vitals import Vitals
from shared.stream.worker import Failure, Worker

E = TypeVar("E", bound=ChipEvent)

TICK_S = 1.0
# A rebalance waits for the batch in flight, to save its work. The group's other members wait with it, and the broker's
# patience (max.poll.interval.ms, 300 s) is far away; a line that gets no verdicts is not.
REVOKE_BUDGET_S = 3.0
# On SIGTERM the process is to be gone within 5 s: 3 for the batch in flight and its commit, the rest to leave the group
# and to close the step.
DRAIN_BUDGET_S = 3.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _InFlight:
    batch: tuple[Received, ...]
    judgement: Future[Judgement]
    since: float
    partitions: frozenset[int]
    """Those that the judgement is about."""


class Loop(Generic[E]):
    """Runs one step on one topic until `stopping` is set, or raises what ends the stage."""

    def __init__(
        self,
        *,
        step: Step[E],
        judge: Judge[E],
        topic: str,
        consumer: Consumer,
        pasts: Pasts,
        membership: Membership,
        transactions: Transactions,
        worker: Worker,
        settings: StreamSettings,
        vitals: Vitals,
        stopping: Flag,
    ) -> None:
        self._step = step
        self._judge = judge
        self._topic = topic
        self._consumer = consumer
        self._membership = membership
        self._commits = Commits(transactions.commit)
        self._worker = worker
        self._settings = settings
        self._vitals = vitals
        self._stopping = stopping
        self._failure = Failure()  # ends the stage
        self._in_hand = InHand(
            consumer,
            topic,
            stage=step.name,
            pasts=pasts,
            judge=judge,
            worker=worker,
            failure=self._failure,
            settings=settings,
            vitals=vitals,
            is_late=self._is_late,
        )
        self.partitions = self._in_hand.partitions
        """Those that it reads."""
        self._buffer = self._in_hand.buffer
        self._intake = Intake(consumer, self.partitions, self._buffer, vitals, stage=step.name)
        self._rebalances = Rebalances(
            self._in_hand,
            finish=self._finish,
            give_up=self._give_up,
            failure=self._failure,
            vitals=vitals,
            stage=step.name,
        )
        self._pace = Pace(step.later_stages)
        self._in_flight: _InFlight | None = None
        self._tally = DeadLetterTally()
        self._hold = Hold(vitals)
        self._tick_at = time.monotonic() + TICK_S
        self._worked_s = 0.0  # on the batch that is committed next

    def run(self) -> None:
        """Poll, judge, commit, until told to stop; then finish what is in flight.

        Raises `StageStopped`, and whatever the step raises where it must not fail.
        """
        self._join()
        try:
            while not self._stopping.is_set():
                if self._membership.is_out_of_touch(self.partitions.owned):
                    self._consumer.unsubscribe()
                    self._join()
                idle = self._is_idle()
                self._receive()
                if idle and self._is_idle():
                    self._hold.nothing_follows()
                self._take_committed(within_s=0.0)
                if self.partitions.adrift and not self._commits.under_way:
                    self._begin_anew()
                if not self._commits.under_way:  # else its transaction shows that it goes on; where it hangs, so do we
                    self._vitals.progress()
                finished = self._take_finished()
                self._begin_next()
                if finished:
                    self._commit(finished, between_polls=True)
            self._drain()
            self._failure.raise_it()
        except BaseException:
            self._drop()  # what follows a batch that was not committed must not be committed either
            raise
        finally:
            self._commits.close()

    def _join(self) -> None:
        self._consumer.subscribe(
            [self._topic],
            on_assign=self._rebalances.on_assign,
            on_revoke=self._rebalances.on_revoke,
            on_lost=self._rebalances.on_lost,
        )

    def _receive(self) -> None:
        """Wait for records or for what is in flight, whichever comes first."""
        beginnings = self._in_hand.beginnings
        beginnings.go_on()
        self._vitals.beginning = beginnings.awaited
        self._intake.receive(
            self._awaited(),
            held_until=self._hold.until,
            quick=bool(beginnings.awaited or self._commits.under_way),
            retry_at=self._in_hand.waiting.until,
        )
        self._failure.raise_it()

    def _is_idle(self) -> bool:
        """Whether there is nothing to do: every partition is being read, if there is any, and nothing is in hand."""
        in_hand = self._in_flight or self._commits.under_way or self._buffer
        return self._hold.is_over and not in_hand and self.partitions.owned <= self.partitions.begun.keys()

    def _awaited(self) -> list[Future[Any]]:
        """What the batch in flight waits for: the worker, or the commit before it. Nothing where no batch is."""
        if self._in_flight is None:
            return []
        judgement, commit = self._in_flight.judgement, self._commits.under_way
        if commit is None:
            return [judgement]
        return [commit] if judgement.done() else [judgement, commit]

    # -- judge

    def _begin_next(self) -> None:
        """Give the worker the next batch if it is free and one is ready, and the clock's tick if that is due."""
        if self._in_flight or self._stopping.is_set():
            return
        now = time.monotonic()
        batch = self._in_hand.next_batch() if self._hold.is_over else ()
        tick = now >= self._tick_at and self._knows_only_what_is_begun()
        if not batch and not tick:
            return
        partitions = {record.source.partition for record in batch}
        if tick:
            self._tick_at = now + TICK_S
            partitions |= set(self.partitions.begun)
        judgement = self._worker.submit(
            self._judge.judge, batch, refused=frozenset(self._in_hand.refused), needed=self._pace.needed, tick=tick
        )
        self._in_flight = _InFlight(batch, judgement, now, frozenset(partitions))
        self._vitals.worker_busy_since = now

    def _knows_only_what_is_begun(self) -> bool:
        """Whether whatever the clock makes due can be committed: with the offset of a partition that has begun.

        Between its past being recalled and the consumer being sent there, the step knows of one that has not.
        """
        begun = self.partitions.begun.keys()
        return bool(begun) and self.partitions.owned - self._in_hand.beginnings.awaited <= begun

    def _is_late(self, received: Received) -> bool:
        """Whether the judge will shed it, as far as its headers tell."""
        latest = begin_by(received.identity, self._pace.needed) if self._step.sheds_late_chips else None
        return latest is not None and latest < datetime.now(UTC)

    def _take_finished(self) -> Judgement | None:
        """The judgement of the batch in flight, if it is done and no commit is under way.

        What could not be judged yet waits: with its partition, or in the buffer for what is before it.
        """
        in_flight = self._in_flight
        if in_flight is None or not in_flight.judgement.done():
            return None
        self._vitals.worker_busy_since = None
        if self._commits.under_way:
            return None
        self._in_flight = None
        judgement = in_flight.judgement.result()
        if in_flight.batch:
            seconds = self._worked_s = time.monotonic() - in_flight.since
            report.judged(self._step.name, len(in_flight.batch), seconds)
            if judged := [record.identity for record in judgement.settled if not record.says_nothing]:
                self._pace.note(seconds)
                self._buffer.note(len(judged), seconds, shortest_allowance_s(judged))
            self._in_hand.take_back(in_flight.batch, judgement, worked_s=seconds)
        return judgement

    # -- commit

    def _commit(self, judgement: Judgement, *, between_polls: bool = False) -> None:
        """Have outputs and offsets of a batch committed in one transaction, while no other one is under way."""
        self._failure.raise_it()  # the worker did not know what it had to of a partition, and judged all the same
        settled = judgement.settled
        notes = self._in_hand.notes
        written = notes.enter(judgement.kept, self.partitions.begun)
        aside = [*judgement.due, *judgement.kept, *written]
        if not settled and not aside:
            return
        tally = self._tally.after((record.failure for record in settled if not record.says_nothing), self._settings)
        # Also for the partitions of which no record is settled: by these offsets the broker refuses a worker that has
        # lost them.
        offsets = {output.partition: self.partitions.begun[output.partition] for output in aside}
        offsets |= next_offsets(record.received for record in settled)
        if between_polls:
            offsets = {number: self.partitions.past_markers(number, offset) for number, offset in offsets.items()}
        noted = {partition: notes.of(partition) for partition in offsets}
        outputs = [output for record in settled for output in record.outputs] + [*judgement.due, *written]
        batch = Batch(settled, offsets, noted, tally, self._worked_s)
        self._commits.start(batch, outputs, self._consumer.consumer_group_metadata())

    def _take_committed(self, *, within_s: float | None) -> None:
        """Take note of the commit under way once it has ended (None: wait for it); where it failed, begin anew."""
        taken = self._commits.take(within_s)
        if taken is None:
            return
        batch, commit = taken
        try:
            ended = commit.result()
        except TransactionFailed as error:
            if isinstance(error, OutputRefused):
                if error.sources <= self._in_hand.refused:
                    raise ClientFailed(f"{error}; not even the dead letter without the record's value") from error
                self._in_hand.refused |= error.sources
            report.failed(self._step.name)
            self._begin_anew()
            self._hold.for_transaction(str(error))
            return
        report.committed(self._step.name, batch.settled, ended.seconds, batch.worked_s, at=ended.at)
        self.partitions.begun |= batch.offsets
        self._tally = batch.tally
        self._in_hand.refused -= {record.received.source for record in batch.settled}
        self._hold.batch_committed()

    def _drop(self) -> None:
        """Let go of everything in hand."""
        self._in_flight = None  # the worker may still be at it; nobody takes its result
        self._vitals.worker_busy_since = None
        self._in_hand.drop()

    def _begin_anew(self) -> None:
        """Go back to the last commit with everything. Not while a commit is under way: it decides where that is."""
        self._drop()
        self._in_hand.begin_anew()

    def _drain(self) -> None:
        log.info("stopping")
        self._vitals.draining = True
        self._finish_in_flight(DRAIN_BUDGET_S)
        self._buffer.drop()

    def _finish_in_flight(self, budget_s: float) -> None:
        """Commit what is in flight: the batch that the worker is at only if it is done in time, else it is dropped.

        A commit that is under way is waited for however long it takes: where this worker stands depends on it, and
        transactions give a broker up by themselves (`shared.stream.transaction`).
        """
        until = time.monotonic() + budget_s
        self._take_committed(within_s=None)
        if self._in_flight is None:
            return
        wait([self._in_flight.judgement], max(0.0, until - time.monotonic()))
        if finished := self._take_finished():
            self._commit(finished)
            self._take_committed(within_s=None)
        else:
            log.warning("batch_dropped", records=len(self._in_flight.batch), waited_s=budget_s)
            self._begin_anew()

    # -- rebalances (`shared.stream.rebalance`), from within a poll

    def _finish(self, partitions: Collection[int]) -> None:
        if self._holds(partitions):
            self._finish_in_flight(REVOKE_BUDGET_S)
        else:
            self._take_committed(within_s=None)

    def _give_up(self, partitions: Collection[int]) -> None:
        self._take_committed(within_s=None)  # the broker refuses it, or has accepted it before
        if self._holds(partitions):
            self._begin_anew()

    def _holds(self, partitions: Collection[int]) -> bool:
        return self._in_flight is not None and not self._in_flight.partitions.isdisjoint(partitions)
