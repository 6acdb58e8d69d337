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
from threading import Event as Flag
from typing import Any, Generic, TypeVar

import structlog
from confluent_kafka import Consumer

from shared.identity import ChipEvent
from shared.settings import StreamSettings
from shared.stream.committing import Committing
from shared.stream.deadline import Pace
from shared.stream.hold import Hold
from shared.stream.in_hand import InHand
from shared.stream.intake import Intake
from shared.stream.judgement import Judge
from shared.stream.judging import Judging
from shared.stream.membership import Membership
from shared.stream.rebalance import Rebalances
from shared.stream.recall import PastReader
from shared.stream.settled import Judgement
from shared.stream.step import Step
from shared.stream.transaction import Transactions
from shared.stream.vitals import Vitals
from shared.stream.worker import Failure, Worker

E = TypeVar("E", bound=ChipEvent)

# A rebalance waits for the batch in flight, to save its work. The group's other members wait with it, and the broker's
# patience (max.poll.interval.ms, 300 s) is far away; a line that gets no verdicts is not.
REVOKE_BUDGET_S = 3.0
# On SIGTERM the process is to be gone within 5 s: 3 for the batch in flight and its commit, the rest to leave the group
# and to close the step.
DRAIN_BUDGET_S = 3.0

log = structlog.get_logger()


class Loop(Generic[E]):
    """Runs one step on one topic until `stopping` is set, or raises what ends the stage."""

    def __init__(
        self,
        *,
        step: Step[E],
        judge: Judge[E],
        topic: str,
        consumer: Consumer,
        pasts: PastReader,
        membership: Membership,
        transactions: Transactions,
        worker: Worker,
        settings: StreamSettings,
        vitals: Vitals,
        stopping: Flag,
    ) -> None:
        self._topic = topic
        self._consumer = consumer
        self._membership = membership
        self._vitals = vitals
        self._stopping = stopping
        self._failure = Failure()  # ends the stage
        pace = Pace(step.later_stages)
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
            is_late=lambda received: step.sheds_late_chips and pace.is_late(received.identity),
        )
        self.partitions = self._in_hand.partitions
        """Those that it reads."""
        self._intake = Intake(consumer, self.partitions, self._in_hand.buffer, vitals, stage=step.name)
        self._judging = Judging(judge, worker, self._in_hand, pace=pace, stage=step.name, vitals=vitals)
        self._hold = Hold(vitals)
        self._committing = Committing(
            transactions, consumer, self._in_hand, hold=self._hold, settings=settings, stage=step.name
        )
        self._rebalances = Rebalances(
            self._in_hand,
            finish=self._finish,
            give_up=self._give_up,
            failure=self._failure,
            vitals=vitals,
            stage=step.name,
        )

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
                self._take_committed(at_once=True)
                if self.partitions.adrift and not self._committing.under_way:
                    self._begin_anew()
                # A commit that is under way shows by itself that it goes on; where it hangs, so do we.
                if not self._committing.under_way:
                    self._vitals.progress()
                finished = self._take_finished()
                if not self._stopping.is_set():
                    self._judging.begin_next(batches=self._hold.is_over)
                if finished:
                    self._commit(finished, between_polls=True)
            self._drain()
            self._failure.raise_it()
        except BaseException:
            self._drop()  # what follows a batch that was not committed must not be committed either
            raise
        finally:
            self._committing.close()

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
        self._vitals.beginning, self._vitals.beginning_failed_by = beginnings.awaited, beginnings.failure
        self._intake.receive(
            self._awaited(),
            held_until=self._hold.until,
            quick=bool(beginnings.awaited or self._committing.under_way),
            retry_at=self._in_hand.waiting.until,
        )
        self._failure.raise_it()

    def _is_idle(self) -> bool:
        """Whether there is nothing to do: every partition is being read, if there is any, and nothing is in hand."""
        in_hand = self._judging.under_way or self._committing.under_way or self._in_hand.buffer
        return self._hold.is_over and not in_hand and self.partitions.owned <= self.partitions.begun.keys()

    def _awaited(self) -> list[Future[Any]]:
        """What the batch in flight waits for: the worker, or the commit before it. Nothing where no batch is."""
        judgement, commit = self._judging.under_way, self._committing.under_way
        if judgement is None:
            return []
        if commit is None:
            return [judgement]
        return [commit] if judgement.done() else [judgement, commit]

    def _take_finished(self) -> Judgement | None:
        """The judgement that is made, if no commit is under way before it."""
        return self._judging.take_finished(wanted=not self._committing.under_way)

    def _commit(self, judgement: Judgement, *, between_polls: bool = False) -> None:
        self._failure.raise_it()  # the worker did not know what it had to of a partition, and judged all the same
        self._committing.start(judgement, worked_s=self._judging.worked_s, between_polls=between_polls)

    def _take_committed(self, *, at_once: bool = False) -> None:
        """Take note of the commit under way once it has ended, as `Committing.take`; where it failed, begin anew."""
        failed = self._committing.take(at_once=at_once)
        if failed is not None:
            self._begin_anew()
            self._hold.for_transaction(failed)

    def _drop(self) -> None:
        """Let go of everything in hand."""
        self._judging.drop()
        self._in_hand.drop()

    def _begin_anew(self) -> None:
        """Go back to the last commit with everything. Not while a commit is under way: it decides where that is."""
        self._drop()
        self._in_hand.begin_anew()

    def _drain(self) -> None:
        log.info("stopping")
        self._vitals.draining = True
        self._finish_in_flight(DRAIN_BUDGET_S)
        self._in_hand.buffer.drop()

    def _finish_in_flight(self, budget_s: float) -> None:
        """Commit what is in flight: the batch that the worker is at only if it is done in time, else it is dropped.

        A commit that is under way is waited for however long it takes: where this worker stands depends on it, and
        transactions give a broker up by themselves (`shared.stream.transaction`).
        """
        until = time.monotonic() + budget_s
        self._take_committed()
        if self._judging.under_way is None:
            return
        wait([self._judging.under_way], max(0.0, until - time.monotonic()))
        if finished := self._take_finished():
            self._commit(finished)
            self._take_committed()
        else:
            log.warning("batch_dropped", records=self._judging.records, waited_s=budget_s)
            self._begin_anew()

    def _finish(self, partitions: Collection[int]) -> None:
        """Commit what is in flight of partitions that are ours still; called from within a poll, as the next one is."""
        if self._judging.holds(partitions):
            self._finish_in_flight(REVOKE_BUDGET_S)
        else:
            self._take_committed()

    def _give_up(self, partitions: Collection[int]) -> None:
        """Let go of what is in flight of partitions that are another's already."""
        self._take_committed()  # the broker refuses it, or has accepted it before
        if self._judging.holds(partitions):
            self._begin_anew()
