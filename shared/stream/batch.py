"""The records that wait for the worker, and when they make a batch."""

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable

from shared.stream.record import Received

# Two batches: the next one ready when the worker is done, and one that fills meanwhile. The Kafka client reads ahead
# anyway.
BATCHES_AHEAD = 2
# … but not more than this, since a batch of the largest pictures would be 130 MB.
BYTES_AHEAD = 64 * 1024 * 1024
NEVER = float("-inf")


class Buffer:
    """Records in the order they were received, bounded by number and bytes.

    A batch is ready when it is full, or when its first record has lingered long enough. Times are of the monotonic
    clock, in seconds.
    """

    def __init__(self, batch_size: int, linger_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._batch_size = batch_size
        self._linger_s = linger_s
        self._clock = clock
        self._waiting: deque[tuple[Received, float]] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def room(self) -> int:
        """How many more records may come in."""
        if self._bytes >= BYTES_AHEAD:
            return 0
        return max(0, BATCHES_AHEAD * self._batch_size - len(self._waiting))

    def add(self, records: Iterable[Received], *, lingered: bool = False) -> None:
        """Put records at the end; they begin to linger now, or have lingered already."""
        since = NEVER if lingered else self._clock()
        for record in records:
            self._waiting.append((record, since))
            self._bytes += record.size

    def put_back(self, records: Collection[Received]) -> None:
        """Put records of the last batch back to the front, in their order; they have lingered already."""
        for record in reversed(list(records)):
            self._waiting.appendleft((record, NEVER))
            self._bytes += record.size

    def fills_in(self) -> float | None:
        """Seconds until the next batch is ready: 0 where it is, None where there is no record."""
        if not self._waiting:
            return None
        if len(self._waiting) >= self._batch_size:
            return 0.0
        return max(0.0, self._waiting[0][1] + self._linger_s - self._clock())

    def missing(self) -> int:
        """How many records the next batch could still take."""
        return max(0, self._batch_size - len(self._waiting))

    def take(self) -> tuple[Received, ...]:
        """The next batch, empty where none is ready."""
        if self.fills_in() != 0.0:
            return ()
        batch = tuple(self._waiting.popleft()[0] for _ in range(min(self._batch_size, len(self._waiting))))
        self._bytes -= sum(record.size for record in batch)
        return batch

    def drop(self, partitions: Collection[int] | None = None) -> list[Received]:
        """Take out and return the records of some partitions, of all by default."""
        kept = deque[tuple[Received, float]]()
        dropped: list[Received] = []
        for record, since in self._waiting:
            if partitions is None or record.source.partition in partitions:
                dropped.append(record)
            else:
                kept.append((record, since))
        self._waiting = kept
        self._bytes -= sum(record.size for record in dropped)
        return dropped
