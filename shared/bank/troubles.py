"""What is not as it should be with the banks that a running stage follows: noted, logged when it begins, counted."""

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import structlog

from shared import metrics

# A chip that waits is tried again every few seconds, its stage's next question counted in. A product that nobody has
# asked for in so long has none here: it was too late for a verdict, or its partition went to another worker.
ASKED_FOR_S = 30.0

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Condition:
    """What is not as it should be; all empty where everything is."""

    unreachable: str | None = None
    """Why the last poll failed."""
    empty: str | None = None
    """That Redis answered, and no product at all has an active bank: it lost its data, or nothing was published yet."""
    lost: set[str] = field(default_factory=set)
    """Held products of which Redis has no active bank any more: it was flushed, or lost its data."""
    refused: dict[str, str] = field(default_factory=dict)
    """Product → why its active version is not used; the one before it goes on judging."""
    lacking: dict[str, str] = field(default_factory=dict)
    """Product → why chips of it cannot be judged now."""


class Troubles:
    """The condition as it changes. Safe to share between threads.

    Args:
        holds: what is held, in the metrics.
        held_by: whose condition it is, in the log.
        clock: monotonic time in seconds.
    """

    def __init__(self, holds: str, held_by: str, *, clock: Callable[[], float]) -> None:
        self._holds = holds
        self._held_by = held_by
        self._clock = clock
        self._lock = threading.Lock()
        self._condition = Condition()
        self._asked_at: dict[str, float] = {}
        """When a product that is lacking was asked for last."""

    def now(self) -> Condition:
        """A copy of what is not as it should be."""
        with self._lock:
            now = self._condition
            over = self._clock() - ASKED_FOR_S
            for product in [product for product, asked_at in self._asked_at.items() if asked_at < over]:
                self._has(product)
            return Condition(now.unreachable, now.empty, set(now.lost), dict(now.refused), dict(now.lacking))

    def set_unreachable(self, reason: str | None) -> None:
        """Why Redis cannot be reached, or that it can."""
        with self._lock:
            before, self._condition.unreachable = self._condition.unreachable, reason
        if reason is not None and before is None:
            log.warning("redis_unreachable", reason=reason, held_by=self._held_by)
        if reason is None and before is not None:
            log.info("redis_reachable_again", held_by=self._held_by)

    def set_empty(self, reason: str | None) -> None:
        """That no product has an active bank, or that one has."""
        with self._lock:
            before, self._condition.empty = self._condition.empty, reason
        if reason is not None and before is None:
            log.warning("no_bank_is_active", reason=reason, held_by=self._held_by)

    def set_lost(self, product: str, *, is_lost: bool) -> None:
        """Whether Redis lost the active bank of a product that is held."""
        with self._lock:
            was_lost = product in self._condition.lost
            (self._condition.lost.add if is_lost else self._condition.lost.discard)(product)
        if is_lost and not was_lost:
            log.warning("bank_lost_in_redis", product=product, consequence="the one held goes on judging")

    def set_refused(self, product: str, reason: str) -> None:
        """Why the product's active version is not used."""
        with self._lock:
            before = self._condition.refused.get(product)
            self._condition.refused[product] = reason
        if before is None:
            log.error("bank_version_refused", product=product, reason=reason)

    def set_lacking(self, product: str, reason: str | None) -> None:
        """Why chips of the product cannot be judged now, or that this is not so."""
        with self._lock:
            if reason is None:
                self._has(product)
            else:
                self._condition.lacking[product] = reason
                self._asked_at[product] = self._clock()

    def settle(self, product: str, *, still_lacking: bool = False) -> None:
        """Nothing is wrong with the product, or Redis does not know it and the next chip is told so.

        `still_lacking` where that does not end a wait of its chips: Redis lost it, or they wait for something else.
        """
        with self._lock:
            self._condition.refused.pop(product, None)
            if not still_lacking:
                self._has(product)

    def keep(self, followed: Collection[str]) -> None:
        """Forget what was lost or refused of products that are not followed any more."""
        with self._lock:
            self._condition.lost.intersection_update(followed)
            self._condition.refused = {p: why for p, why in self._condition.refused.items() if p in followed}

    def tell(self) -> None:
        """The metrics."""
        now = self.now()
        troubles: Mapping[str, int] = {
            "unreachable": now.unreachable is not None,
            "empty": now.empty is not None,
            "lost": len(now.lost),
            "refused": len(now.refused),
            "lacking": len(now.lacking),
        }
        for trouble, number in troubles.items():
            metrics.BANK_TROUBLE.labels(self._holds, trouble).set(number)

    def _has(self, product: str) -> None:
        """No chip of the product waits; called under the lock."""
        self._condition.lacking.pop(product, None)
        self._asked_at.pop(product, None)
