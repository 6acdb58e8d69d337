"""How a stage is: alive and able to judge, as the loop and the step know it."""

import time
from collections.abc import Callable, Mapping

# An iteration of the loop takes a second at most, and a transaction shows every 2 s that it goes on where the broker
# does not answer. Half a minute without progress of either is a hang.
STALLED_AFTER_S = 30.0
# The slowest honest batch (the largest pictures on one core) takes seconds. A worker that is busy for longer hangs.
STUCK_AFTER_S = 120.0


class Vitals:
    """Written by the loop, read by the admin port's threads; single attributes, so no lock is needed."""

    def __init__(
        self,
        not_ready_because: Callable[[], str | None],
        *,
        degraded_because: Callable[[], str | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.degraded_because = degraded_because
        """Why chips are judged by what may be outdated, or None."""
        self._step_not_ready_because = not_ready_because
        self._clock = clock
        self._progress = clock()
        self.worker_busy_since: float | None = None
        """Monotonic time since when the worker has been at the same batch."""
        self.opening: str | None = "the step is opening"
        """Why the step is not open yet; None once it is."""
        self.group_up = False
        """Whether the group's coordinator answers this worker, which may have no partitions for now."""
        self.no_subscription_because: str | None = None
        """Why there can be no partitions, or nothing can be read of them."""
        self.partitions: frozenset[int] = frozenset()
        """Those assigned to this worker."""
        self.beginning: frozenset[int] = frozenset()
        """Partitions whose kept state is still being read."""
        self.beginning_failed_by: str | None = None
        """Why it could not be read so far, where that was tried in vain."""
        self.waiting_for: str | None = None
        """Why no batch is begun now: what the last transaction failed by."""
        self.held: Mapping[int, str] = {}
        """Why the next record of a partition cannot be judged now, by partition; others go on."""
        self.draining = False

    def progress(self) -> None:
        """The loop has gone round with no commit under way, or the commit that is goes on; from either's thread."""
        self._progress = self._clock()

    def subscribed(self) -> None:
        """The coordinator has taken this worker's subscription to what it may read, whatever partitions it gives it."""
        self.no_subscription_because = None

    def dead_because(self) -> str | None:
        """Why the process should be restarted, or None."""
        now = self._clock()
        if (stalled := now - self._progress) > STALLED_AFTER_S:
            return f"the loop has made no progress for {stalled:.0f} s"
        if self.worker_busy_since is not None and (stuck := now - self.worker_busy_since) > STUCK_AFTER_S:
            return f"the worker has been at one batch for {stuck:.0f} s"
        return None

    def not_ready_because(self) -> str | None:
        """Why chips could not be judged here now, of one partition at least, or None."""
        if self.draining or self.opening:
            return "draining: told to stop" if self.draining else self.opening
        if self.no_subscription_because:
            return self.no_subscription_because
        if not self.group_up:
            return "not in the consumer group; is the broker reachable?"
        if self.held or self.waiting_for:
            return self._held_because() or self.waiting_for
        if self.beginning:
            why = f": {self.beginning_failed_by}" if self.beginning_failed_by else ""
            return f"reading what was kept of partitions {sorted(self.beginning)}{why}"
        return self._step_not_ready_because()

    def _held_because(self) -> str | None:
        held = self.held
        if not held:
            return None
        reasons = dict.fromkeys(held.values())
        if len(reasons) == 1 and held.keys() >= self.partitions:
            return next(iter(reasons))
        waiting = {reason: [partition for partition, why in held.items() if why == reason] for reason in reasons}
        return "; ".join(f"{reason} (partitions {numbers} wait)" for reason, numbers in waiting.items())
