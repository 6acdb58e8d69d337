"""What is not as it should be with the banks that a running stage follows: noted, logged when it begins, counted."""

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import structlog

from shared import metrics

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
    """

    def __init__(self, holds: str, held_by: str) -> None:
        self._holds = holds
        self._held_by = held_by
        self._lock = threading.Lock()
        self._condition = Condition()

    def now(self) -> Condition:
        """A copy of what is not as it should be."""
        with self._lock:
            now = self._condition
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
                self._condition.lacking.pop(product, None)
            else:
                self._condition.lacking[product] = reason

    def settle(self, product: str) -> None:
        """Nothing is wrong with the product, or Redis does not know it and the next chip is told so."""
        with self._lock:
            self._condition.refused.pop(product, None)
            self._condition.lacking.pop(product, None)

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
