"""The partitions whose next record cannot be judged yet. Each waits by itself, while the others go on.

Such a partition is not read; only the record that it waits with is kept, and tried again after a while. What comes
behind it is read again once that is settled: however many partitions wait, they take no memory to speak of, and no work
is done in vain. A record past its deadline is tried at once, for that needs no step.
"""

import math
import re
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

import structlog

from shared.stream.record import Received
from shared.stream.transaction import back_off
from shared.stream.vitals import Vitals

# Finding out again that Redis is away can take seconds, in which no other partition is judged: a fifth of the time is
# for that …
REST_SHARE = 4.0
MOST_REST_S = 5.0  # … or more where it takes very long: what is there again must be found out
# Where one late chip after the other is shed, the stage is not ready in between either. This is how long it says so
# once nothing follows.
QUIET_S = 5.0

_NUMBERS = re.compile(r"\d+")

log = structlog.get_logger()


@dataclass(slots=True)
class _Wait:
    """Of one partition, until a chip of it has been judged."""

    reason: str
    record: Received | None = None
    """None while the partition is read again, to see whether the next record can be judged."""
    until: float = 0.0
    """When the record is to be tried again; without one, when the wait is over though no chip was judged."""
    back_off: Iterator[float] = field(default_factory=back_off)


class Waiting:
    """Written and asked by the main thread; `/readyz` shows what it tells `vitals`.

    Times are of the monotonic clock, in seconds.

    Args:
        vitals: told which partitions wait, and why.
        is_late: whether a record's chip is past its deadline now.
        clock: the time.
    """

    def __init__(
        self, vitals: Vitals, *, is_late: Callable[[Received], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._vitals = vitals
        self._is_late = is_late
        self._clock = clock
        self._waits: dict[int, _Wait] = {}

    @property
    def partitions(self) -> frozenset[int]:
        """Those that are not read."""
        return frozenset(partition for partition, wait in self._waits.items() if wait.record is not None)

    @property
    def until(self) -> float:
        """When the next record is to be tried again; infinite where none waits."""
        return min((wait.until for wait in self._waits.values() if wait.record is not None), default=math.inf)

    def hold(self, record: Received, reason: str, *, tried_s: float) -> None:
        """Its partition waits with this record, which took so long to try."""
        partition = record.source.partition
        before = self._waits.get(partition)
        if not any(alike(reason, wait.reason) for wait in self._waits.values()):
            log.warning("waiting", reason=reason, partition=partition)
        wait = self._waits[partition] = before or _Wait(reason)
        wait.reason, wait.record = reason, record
        wait.until = self._clock() + max(next(wait.back_off), min(MOST_REST_S, REST_SHARE * tried_s))
        self._tell()

    def due(self, most: int) -> list[Received]:
        """The records to try now, at most so many, those that have been due for longest first."""
        now = self._clock()
        self._end([partition for partition, wait in self._waits.items() if wait.record is None and wait.until <= now])
        held = sorted((wait.until, partition) for partition, wait in self._waits.items() if wait.record is not None)
        records = [record for until, partition in held if (record := self._due(partition, until <= now)) is not None]
        return records[:most]

    def _due(self, partition: int, is_due: bool) -> Received | None:
        record = self._waits[partition].record
        return record if record is not None and (is_due or self._is_late(record)) else None

    def read_on(self, partition: int) -> None:
        """What the partition waited with is settled: it is read again."""
        wait = self._waits[partition]
        wait.record, wait.until = None, self._clock() + QUIET_S

    def judged(self, partitions: Collection[int]) -> None:
        """Chips of these have been judged: the next wait is a new one."""
        ended = self._end(partitions)
        for reason in dict.fromkeys(wait.reason for wait in ended):
            if not any(alike(reason, wait.reason) for wait in self._waits.values()):
                log.info("going_on", after=reason)

    def drop(self, partitions: Collection[int] | None = None) -> None:
        """These, or all by default, are another's or begin anew."""
        self._end(list(self._waits) if partitions is None else partitions)

    def _end(self, partitions: Collection[int]) -> list[_Wait]:
        ended = [wait for partition in partitions if (wait := self._waits.pop(partition, None)) is not None]
        if ended:
            self._tell()
        return ended

    def _tell(self) -> None:
        self._vitals.held = {partition: wait.reason for partition, wait in sorted(self._waits.items())}


def alike(one: str, other: str) -> bool:
    """Some reasons count up, as sequence numbers do; that does not make them others."""
    return _NUMBERS.sub("", one) == _NUMBERS.sub("", other)
