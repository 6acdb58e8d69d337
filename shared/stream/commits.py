"""The commit that is under way, on a thread of its own: the main thread goes on polling meanwhile."""

import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from shared.stream.dead_letter import DeadLetterTally
from shared.stream.record import Output
from shared.stream.settled import Settled
from shared.stream.worker import Worker

Commit = Callable[[Collection[Output], Mapping[int, int], Mapping[int, str], Any], None]
"""`shared.stream.transaction.Transactions.commit`."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What is committed, and what holds once it is."""

    settled: tuple[Settled, ...]
    offsets: Mapping[int, int]
    """The next to be read, by partition."""
    notes: Mapping[int, str]
    """What stands beside the offsets, by partition (`shared.stream.notes`)."""
    tally: DeadLetterTally
    worked_s: float
    """How long the work before the commit took."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A commit that took effect."""

    at: datetime
    seconds: float
    """How long it took."""


class Commits:
    """Commits batches one at a time, each once the one before was taken. Used by the main thread."""

    def __init__(self, commit: Commit) -> None:
        self._commit = commit
        self._worker = Worker("commit")
        self._batch: Batch | None = None
        self.under_way: Future[Ended] | None = None
        """The end of the commit that is under way, or was and is not taken yet."""

    def start(self, batch: Batch, outputs: Collection[Output], member: Any) -> None:
        """Commit a batch; `member` is what the consumer knows of its membership while the partitions are ours."""

        def timed() -> Ended:
            began = time.monotonic()
            self._commit(outputs, batch.offsets, batch.notes, member)
            return Ended(datetime.now(UTC), time.monotonic() - began)

        self._batch, self.under_way = batch, self._worker.submit(timed)

    def take(self, timeout_s: float | None) -> tuple[Batch, Future[Ended]] | None:
        """The batch whose commit was under way, and its end, if it has one in time; None waits for it."""
        if self._batch is None or self.under_way is None or not wait([self.under_way], timeout_s).done:
            return None
        taken = self._batch, self.under_way
        self._batch = self.under_way = None
        return taken

    def close(self) -> None:
        """Commit no more; the commit that is under way goes on."""
        self._worker.close(0.0)
