"""The batch that the worker is at: when one is given to it, and what becomes of what comes back."""

import time
from collections.abc import Collection
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from shared.stream import report
from shared.stream.deadline import Pace, shortest_allowance_s
from shared.stream.in_hand import InHand
from shared.stream.judgement import Judge
from shared.stream.record import Received
from shared.stream.settled import Judgement
from shared.stream.vitals import Vitals
from shared.stream.worker import Worker

TICK_S = 1.0


@dataclass(frozen=True, slots=True)
class _Judged:
    judgement: Judgement
    seconds: float
    """How long the worker took."""


@dataclass(frozen=True, slots=True)
class _InFlight:
    batch: tuple[Received, ...]
    judged: Future[_Judged]
    since: float
    partitions: frozenset[int]
    """Those that the judgement is about."""


class Judging:
    """Has one batch judged at a time. Used by the main thread.

    Args:
        judge: what the worker calls.
        worker: the thread that computes.
        in_hand: gives the batches out, and takes back what is left of them.
        pace: learns how long batches take.
        stage: its name.
        vitals: told since when the worker is busy.
    """

    def __init__(
        self, judge: Judge[Any], worker: Worker, in_hand: InHand, *, pace: Pace, stage: str, vitals: Vitals
    ) -> None:
        self._judge = judge
        self._worker = worker
        self._in_hand = in_hand
        self._pace = pace
        self._stage = stage
        self._vitals = vitals
        self._in_flight: _InFlight | None = None
        self._tick_at = time.monotonic() + TICK_S
        self.worked_s = 0.0
        """On the batch that was taken last, until it was taken: as its chips feel it, the commit before it included."""

    @property
    def under_way(self) -> Future[Any] | None:
        """The judgement that is being made, or is made and not taken yet."""
        return self._in_flight.judged if self._in_flight else None

    @property
    def records(self) -> int:
        """In flight."""
        return len(self._in_flight.batch) if self._in_flight else 0

    def holds(self, partitions: Collection[int]) -> bool:
        """Whether the judgement under way is about any of these."""
        return self._in_flight is not None and not self._in_flight.partitions.isdisjoint(partitions)

    def begin_next(self, *, batches: bool) -> None:
        """Give the worker the next batch if it is free and one is ready, and the clock's tick if that is due.

        Args:
            batches: whether one may be begun now, and not the tick alone.
        """
        if self._in_flight:
            return
        now = time.monotonic()
        batch = self._in_hand.next_batch() if batches else ()
        tick = now >= self._tick_at and self._in_hand.knows_only_what_is_begun
        if not batch and not tick:
            return
        partitions = {record.source.partition for record in batch}
        if tick:
            self._tick_at = now + TICK_S
            partitions |= set(self._in_hand.partitions.begun)
        judged = self._worker.submit(
            self._timed, batch, refused=frozenset(self._in_hand.refused), needed=self._pace.needed, tick=tick
        )
        self._in_flight = _InFlight(batch, judged, now, frozenset(partitions))
        self._vitals.worker_busy_since = now

    def _timed(self, batch: tuple[Received, ...], **options: Any) -> _Judged:
        began = time.monotonic()
        judgement = self._judge.judge(batch, **options)
        return _Judged(judgement, time.monotonic() - began)

    def take_finished(self, *, wanted: bool) -> Judgement | None:
        """The judgement under way, if it is made.

        What could not be judged yet waits: with its partition, or in the buffer for what is before it.

        Args:
            wanted: whether there is a use for it now; where there is none, it stays in flight.
        """
        in_flight = self._in_flight
        if in_flight is None or not in_flight.judged.done():
            return None
        self._vitals.worker_busy_since = None
        if not wanted:
            return None
        self._in_flight = None
        judged = in_flight.judged.result()
        judgement = judged.judgement
        if in_flight.batch:
            self.worked_s = time.monotonic() - in_flight.since
            report.judged(self._stage, len(in_flight.batch), judged.seconds)
            if chips := [record.identity for record in judgement.settled if not record.says_nothing]:
                self._pace.note(self.worked_s)
                # Not as long as its chips waited for a slow commit: smaller batches would need more of these.
                self._in_hand.buffer.note(len(chips), judged.seconds, shortest_allowance_s(chips))
            self._in_hand.take_back(in_flight.batch, judgement, worked_s=judged.seconds)
        return judgement

    def drop(self) -> None:
        """Let go of the judgement under way: the worker may still be at it, and nobody takes what comes of it."""
        self._in_flight = None
        self._vitals.worker_busy_since = None
