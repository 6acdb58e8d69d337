"""The records that wait for the worker, and when they make a batch."""

import math
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from shared.stream.deadline import SMOOTHING
from shared.stream.record import Received

# Two batches: the next one ready when the worker is done, and one that fills meanwhile. The Kafka client reads ahead
# anyway.
BATCHES_AHEAD = 2
# Late chips cost hardly any work: they take no place in a batch, and drain by the hundred.
LATE_AT_ONCE = 512
# … but nothing more comes in beyond this, since a batch of the largest pictures would be 130 MB.
BYTES_AHEAD = 64 * 1024 * 1024
# Lingering in vain halves how long the next batch lingers, down to this share of the setting: where pictures come one
# at a time, none waits for another. With no linger left, a batch would never find out that others come.
LEAST_LINGER = 1 / 16
# Where many wait, a batch holds as many as take about so long to judge: a transaction costs what it costs whatever its
# size, and the more chips share it the better, until they wait for each other longer than that is worth …
FULL_BATCH_S = 0.2
FULL_BATCH_SHARE = 1 / 8  # of the time that chips have from capture to deadline, where that is less
# … but never fewer than these (where as many are allowed): records that take long may be judged side by side.
USUAL_BATCH = 16
NEVER = float("-inf")


@dataclass(frozen=True, slots=True)
class _Waiting:
    received: Received
    since: float


class Buffer:
    """Records in the order they were received, bounded by number and bytes.

    A batch is ready when it is full, or when its first record has lingered long enough: as long as lingering gains
    records, and less where it has gained none lately. How many fill it follows from how long the latest ones took.
    Times are of the monotonic clock, in seconds.

    Args:
        batch_size: how many records a batch holds at most, not counting late ones.
        linger_s: how long a batch waits to fill, at most.
        is_late: whether a record's chip is past its deadline now.
        clock: the time.
    """

    def __init__(
        self,
        batch_size: int,
        linger_s: float,
        *,
        is_late: Callable[[Received], bool] = lambda _: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = batch_size
        self._batch_size = min(USUAL_BATCH, batch_size)
        self._record_s = 0.0
        self._most_linger_s = self._linger_s = linger_s
        self._is_late = is_late
        self._clock = clock
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def room(self) -> int:
        """How many more records may come in."""
        if self._bytes >= BYTES_AHEAD:
            return 0
        # Where the first is late, a backlog is being worked off, and most of what comes next is late too.
        limit = 2 * LATE_AT_ONCE if self._first_is_late() else BATCHES_AHEAD * self._batch_size
        return max(0, limit - len(self._waiting))

    def add(self, records: Iterable[Received], *, lingered: bool = False) -> None:
        """Put records at the end; they begin to linger now, or have lingered already."""
        since = NEVER if lingered else self._clock()
        for record in records:
            self._waiting.append(_Waiting(record, since))
            self._bytes += record.size

    def put_back(self, records: Collection[Received]) -> None:
        """Put records of the last batch back to the front, in their order; they have lingered already."""
        for record in reversed(list(records)):
            self._waiting.appendleft(_Waiting(record, NEVER))
            self._bytes += record.size

    def fills_in(self) -> float | None:
        """Seconds until the next batch is ready: 0 where it is, None where there is no record."""
        if not self._waiting:
            return None
        if not self.missing():
            return 0.0
        return max(0.0, self._waiting[0].since + self._linger_s - self._clock())

    def note(self, records: int, seconds: float, allowed_s: float = math.inf) -> None:
        """So many records took so long to judge; the most urgent one had `allowed_s` from capture to deadline."""
        self._record_s += (SMOOTHING if self._record_s else 1.0) * (seconds / records - self._record_s)
        full_s = min(FULL_BATCH_S, FULL_BATCH_SHARE * allowed_s)
        fit = min(self._most, full_s / self._record_s if self._record_s else math.inf)
        self._batch_size = max(min(USUAL_BATCH, self._most), int(fit))

    def missing(self) -> int:
        """How many records the next batch could still take."""
        full = LATE_AT_ONCE if self._first_is_late() else self._batch_size
        return max(0, full - len(self._waiting))

    def take(self) -> tuple[Received, ...]:
        """The next batch, empty where none is ready: late records, and as many others as a batch holds."""
        if self.fills_in() != 0.0:
            return ()
        batch: list[Received] = []
        first = self._waiting[0].since
        last = first
        on_time = 0
        while self._waiting and len(batch) < max(LATE_AT_ONCE, self._batch_size):
            on_time += not self._is_late(self._waiting[0].received)
            if on_time > self._batch_size:
                break
            waiting = self._waiting.popleft()
            last = waiting.since
            batch.append(waiting.received)
        self._bytes -= sum(record.size for record in batch)
        if first != NEVER:
            least = self._most_linger_s * LEAST_LINGER
            longer = self._linger_s * (2.0 if last > first else 0.5)
            self._linger_s = min(self._most_linger_s, max(least, longer))
        return tuple(batch)

    def drop(self, partitions: Collection[int] | None = None) -> list[Received]:
        """Take out and return the records of some partitions, of all by default."""
        kept = deque[_Waiting]()
        dropped: list[Received] = []
        for waiting in self._waiting:
            if partitions is None or waiting.received.source.partition in partitions:
                dropped.append(waiting.received)
            else:
                kept.append(waiting)
        self._waiting = kept
        self._bytes -= sum(record.size for record in dropped)
        return dropped

    def _first_is_late(self) -> bool:
        return bool(self._waiting) and self._is_late(self._waiting[0].received)
