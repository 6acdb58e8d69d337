"""Why no batch is begun for now: the step is not ready, or a transaction took no effect. Longer each time in a row."""

import re
import time
from collections.abc import Callable

import structlog

from shared.stream.transaction import back_off
from shared.stream.vitals import Vitals

_NUMBERS = re.compile(r"\d+")

log = structlog.get_logger()


class Hold:
    """Written and asked by the main thread; `/readyz` shows what it tells `vitals`.

    Times are of the monotonic clock, in seconds.
    """

    def __init__(self, vitals: Vitals, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._vitals = vitals
        self._clock = clock
        self._back_off = back_off()
        self._step: str | None = None
        self._transaction: str | None = None
        self._told: str | None = None  # to the log, since the last commit
        self.until = 0.0
        """Until then no batch is begun."""

    @property
    def is_over(self) -> bool:
        """Whether a batch may be begun."""
        return self._clock() >= self.until

    @property
    def by_step(self) -> bool:
        """Whether the step was not ready for the last batch, which waits in the buffer."""
        return self._step is not None

    def for_step(self, reason: str) -> None:
        """The step is not ready."""
        self._step = reason
        self._hold(reason)

    def for_transaction(self, reason: str) -> None:
        """A transaction took no effect, as far as is known: its records are read again."""
        self._transaction = reason
        self._hold(reason)

    def let_go(self) -> None:
        """No batch waits for the step any more: the step was ready for it, or it is dropped."""
        if self.by_step and self._transaction is None:
            self.until = 0.0
        self._step = None
        self._tell()

    def batch_committed(self) -> None:
        """Transactions take effect: unless the step is not ready, what comes next need not wait."""
        self._transaction = None
        self._tell()
        if self.by_step:
            return
        if self._told:
            log.info("going_on", after=self._told)
        self._told = None
        self._back_off = back_off()
        self.until = 0.0

    def nothing_follows(self) -> None:
        """What the transaction was about has been read again, and there was nothing to do.

        It took effect though its answer was lost, or it is another's. The next failure still waits longer than this.
        """
        if self._transaction is not None:
            self._transaction = None
            self._tell()

    def _hold(self, reason: str) -> None:
        self.until = self._clock() + next(self._back_off)
        # Some reasons count up, as sequence numbers do; that does not make them others.
        if self._told is None or _NUMBERS.sub("", reason) != _NUMBERS.sub("", self._told):
            log.warning("waiting", reason=reason)
        self._told = reason
        self._tell()

    def _tell(self) -> None:
        self._vitals.waiting_for = self._step or self._transaction
