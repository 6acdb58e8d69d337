"""How a worker begins with partitions: it reads what was kept of each, hands that to the judge, then takes records."""

import time
from collections.abc import Callable, Collection
from concurrent.futures import Future

import structlog
from confluent_kafka import KafkaException

from shared.errors import NotReady
from shared.stream.partitions import Partitions
from shared.stream.recall import Past, PastReader

RETRY_S = 1.0  # a broker that restarts is back in about 3 s

log = structlog.get_logger()


Recollect = Callable[[int, Past], None]
"""Hands what was kept of a partition to whoever goes on from it, before any record of it."""


class Beginnings:
    """The partitions whose past is being read. Used by the main thread."""

    def __init__(
        self,
        pasts: PastReader,
        partitions: Partitions,
        recollect: Recollect,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pasts = pasts
        self._partitions = partitions
        self._recollect = recollect
        self._clock = clock
        self._awaited: dict[int, Future[Past]] = {}
        self._again: dict[int, float] = {}  # those to be read again, and when
        self._cut_short: set[int] = set()  # of those
        self._failures: dict[int, str] = {}  # of those whose latest attempt failed, why

    @property
    def awaited(self) -> frozenset[int]:
        """The partitions that have not begun for this reason."""
        return frozenset(self._awaited) | frozenset(self._again)

    @property
    def failure(self) -> str | None:
        """Why the past of one of them could not be read so far, if any could not."""
        return next(iter(self._failures.values()), None)

    def start(self, partitions: Collection[int]) -> None:
        """Take nothing of these owned partitions until what was kept of them has been read, from now on."""
        self._cut_short |= self._partitions.cut_short & set(partitions)
        self._partitions.stop(partitions)
        for partition in sorted(partitions):
            self._read(partition)

    def drop(self, partitions: Collection[int]) -> None:
        """These are another's from now on."""
        for partition in partitions:
            self._awaited.pop(partition, None)
            self._again.pop(partition, None)
            self._failures.pop(partition, None)
        self._cut_short -= set(partitions)

    def go_on(self) -> None:
        """Begin with the partitions whose past has been read; read again what could not be, after a while."""
        for partition in sorted(partition for partition, at in self._again.items() if at <= self._clock()):
            self._read(partition)
        for partition, reading in [(partition, past) for partition, past in self._awaited.items() if past.done()]:
            try:
                past = reading.result()
            except (KafkaException, NotReady) as error:
                reason = error.args[0].str() if isinstance(error, KafkaException) else str(error)
                log.warning("past_unknown", partition=partition, reason=reason, next_attempt_in_s=RETRY_S)
                self._failures[partition] = reason
                del self._awaited[partition]
                self._again[partition] = self._clock() + RETRY_S
                continue
            del self._awaited[partition]
            self._failures.pop(partition, None)
            self._cut_short.discard(partition)
            self._recollect(partition, past)
            self._partitions.begin(partition, past.position)

    def _read(self, partition: int) -> None:
        self._again.pop(partition, None)
        self._awaited[partition] = self._pasts.begin(partition, cut_short=partition in self._cut_short)
