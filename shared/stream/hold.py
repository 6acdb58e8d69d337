"""Why no batch is begun for now: a transaction took no effect. Each wait in a row is longer."""

import time
from collections.abc import Callable

import structlog

from shared.stream.transaction import back_off
from shared.stream.vitals import Vitals
from shared.stream.waiting import alike

log = structlog.get_logger()


class Hold:
    """Written and asked by the main thread; `/readyz` shows what it tells `vitals`.

    Times are of the monotonic clock, in seconds.
    """

    def __init__(self, vitals: Vitals, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._vitals = vitals
        self._clock = clock
        self._back_off = back_off()
        self._told: str | None = None  # to the log, since the last commit
        self.until = 0.0
        """Until then no batch is begun."""

    @property
    def is_over(self) -> bool:
        """Whether a batch may be begun."""
        return self._clock() >= self.until

    def for_transaction(self, reason: str) -> None:
        """A transaction took no effect, as far as is known: its records are read again."""
        self.until = self._clock() + next(self._back_off)
        if self._told is None or not alike(reason, self._told):
            log.warning("waiting", reason=reason)
        self._told = self._vitals.waiting_for = reason

    def batch_committed(self) -> None:
        """Transactions take effect: what comes next need not wait."""
        self._vitals.waiting_for = None
        if self._told:
            log.info("going_on", after=self._told)
        self._told = None
        self._back_off = back_off()
        self.until = 0.0

    def nothing_follows(self) -> None:
        """What the transaction was about has been read again, and there was nothing to do.

        It took effect though its answer was lost, or it is another's. The next failure still waits longer than this.
        """
        self._vitals.waiting_for = None
