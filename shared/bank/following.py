"""Following the active pointers in the background, and going on with what is held where Redis is away."""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final, Self, TypeVar

import structlog

from shared import telemetry
from shared.bank.errors import BankError, BankUnavailable, CorruptBundle, UnknownProduct, UnknownVersion
from shared.bank.store import BankStore

POLL_SECONDS: Final = 0.25  # an activation is seen within half a second, loading included for banks of a few MB
# A flood of chips of an unknown product costs two questions a second, and a publish ends it as fast as an activation.
NEGATIVE_SECONDS: Final = 0.5
RETRY_CORRUPT_SECONDS: Final = 5.0  # a damaged version may be mended by publishing it again; until then not every poll
MAX_NEGATIVES: Final = 10_000  # garbage product names must not fill the memory
CLOSE_SECONDS: Final = 2.0  # a thread that waits for a dead Redis longer than that ends with the process

T = TypeVar("T")
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


class Follower(ABC):
    """Holds something of products' active versions and keeps it current. Safe to share between threads.

    The background thread starts at the first use and ends at `close`. What is held changes by single assignments
    under the lock, never while a new version loads.
    """

    holds: ClassVar[str]
    """What it holds, in the metrics."""

    def __init__(
        self,
        store: BankStore,
        *,
        poll_seconds: float = POLL_SECONDS,
        negative_seconds: float = NEGATIVE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._poll_seconds = poll_seconds
        self._negative_seconds = negative_seconds
        self._clock = clock
        self._lock = threading.Lock()
        """Guards all that is held; only ever taken for a moment."""
        self._loading = threading.Lock()
        """One loads at a time, so that a miss and the background thread do not fetch the same bank twice."""
        self._condition = Condition()
        self._negatives: dict[tuple[str, ...], tuple[float, type[BankError], str]] = {}
        """Until when to give the same answer again. No exception is kept: its traceback would keep whole batches."""
        self._corrupt_until: dict[tuple[str, str], float] = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def close(self) -> None:
        """End the background thread and the connections."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def condition(self) -> Condition:
        """A copy of what is not as it should be."""
        with self._lock:
            now = self._condition
            return Condition(now.unreachable, now.empty, set(now.lost), dict(now.refused), dict(now.lacking))

    def not_ready_because(self) -> str | None:
        """Why chips cannot be judged now, or None.

        An outage of Redis alone is no reason: what is held goes on judging. It is one where a product was asked for
        that is not held, or where nothing is held at all; so is a Redis without any bank.
        """
        with self._lock:
            if self._condition.lacking:
                return next(iter(self._condition.lacking.values()))
            return None if self._holding() else self._condition.unreachable or self._condition.empty

    def degraded_because(self) -> str | None:
        """Why what judges may be outdated although chips are judged, or None."""
        now = self.condition()
        reasons = [
            *([f"{now.unreachable}; going on with what is held"] if now.unreachable else []),
            *(f"Redis lost the active bank of {product}; going on with the one held" for product in sorted(now.lost)),
            *now.refused.values(),
        ]
        return "; ".join(reasons) or None

    def refresh(self) -> None:
        """Compare with the active pointers once and load what changed; the background thread does nothing else."""
        try:
            active = self._store.all_active()
        except BankUnavailable as error:
            self._set_unreachable(str(error))
        else:
            self._set_unreachable(None)
            self._follow_to(active)
        self._tell()

    def _follow_to(self, active: Mapping[str, str]) -> None:
        self._set_empty(active)
        with self._lock:
            followed = dict.fromkeys(self._condition.lacking) | self._followed()
            self._condition.lost &= followed.keys()
            self._condition.refused = {p: why for p, why in self._condition.refused.items() if p in followed}
        for product, held in followed.items():
            version = active.get(product)
            self._set_lost(product, is_lost=version is None and held is not None)
            if version is not None and version != held:
                self._take(product, version)
            else:
                self._settle(product)

    @abstractmethod
    def _followed(self) -> dict[str, str | None]:
        """The products to keep current, each with the version that is held of it; called under the lock."""

    @abstractmethod
    def _load_and_swap(self, product: str, version: str) -> None:
        """Load the version, then put it in place of the one that is held."""

    def _had(self, product: str) -> bool:
        """Whether the product is known to have had an active version."""
        with self._lock:
            return product in self._followed()

    @abstractmethod
    def _holding(self) -> int:
        """How much is held; called under the lock."""

    def _preload(self, limit: int) -> None:
        """Take the active versions of at most so many products, and leave out what is damaged.

        Raises `BankUnavailable` where Redis cannot be reached.
        """
        self._start()
        active = self._store.all_active()
        self._set_empty(active)
        for product, version in list(active.items())[:limit]:
            self._take(product, version)

    def _active(self, product: str) -> str:
        """The product's active version.

        Raises:
            UnknownProduct: Redis knows others, and not this one.
            BankUnavailable: Redis cannot be reached, lost the product, or knows none at all: the chip is not at fault.
        """
        try:
            return self._store.active(product)
        except UnknownProduct as error:
            if self._had(product):
                raise BankUnavailable(f"{error}; it had one a while ago, and lost it: publish it again") from error
            if not self._store.all_active():
                raise BankUnavailable(str(error)) from error
            raise

    def _ask(self, key: tuple[str, ...], load: Callable[[], T]) -> T:
        """Load what is not held, unless the same was refused a moment ago. `key` begins with the product.

        Raises what `load` raises; a `CorruptBundle` as `BankUnavailable`, since the chips are not at fault.
        """
        self._start()
        product = key[0]
        self._raise_if_refused_lately(key)
        with self._loading:
            self._raise_if_refused_lately(key)  # by another thread, while this one waited
            try:
                found = load()
            except (CorruptBundle, UnknownVersion) as error:
                raise self._remember(key, BankUnavailable(f"{error} (or roll back)")) from error
            except BankError as error:
                self._remember(key, error)
                raise
        with self._lock:
            self._condition.lacking.pop(product, None)
            self._negatives.pop(key, None)
        return found

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and not self._stopping.is_set():
                self._thread = threading.Thread(target=self._follow, name=f"{type(self).__name__}-follow", daemon=True)
                self._thread.start()

    def _follow(self) -> None:
        while not self._stopping.wait(self._poll_seconds):
            try:
                self.refresh()
            except Exception:
                # Whatever it is, a cache that silently stopped following would judge with outdated banks for ever.
                log.exception("bank_refresh_failed")

    def _take(self, product: str, version: str) -> None:
        if self._clock() < self._corrupt_until.get((product, version), 0.0):
            return
        try:
            with self._loading:
                self._load_and_swap(product, version)
        except (CorruptBundle, UnknownVersion) as error:
            self._corrupt_until[product, version] = self._clock() + RETRY_CORRUPT_SECONDS
            self._set_refused(product, f"active version {version} of {product} is not used: {error}")
        except BankUnavailable as error:
            self._set_unreachable(str(error))
        else:
            self._corrupt_until.pop((product, version), None)
            self._settle(product)
            log.info("bank_version_taken", product=product, version=version, held_by=type(self).__name__)

    def _raise_if_refused_lately(self, key: tuple[str, ...]) -> None:
        with self._lock:
            found = self._negatives.get(key)
        if found is not None and self._clock() < found[0]:
            _, kind, message = found
            raise kind(message)

    def _remember(self, key: tuple[str, ...], error: BankError) -> BankError:
        with self._lock:
            if len(self._negatives) >= MAX_NEGATIVES:
                self._negatives.clear()
            self._negatives[key] = (self._clock() + self._negative_seconds, type(error), str(error))
            if isinstance(error, BankUnavailable):
                self._condition.lacking[key[0]] = str(error)
            else:
                self._condition.lacking.pop(key[0], None)
        return error

    def _set_unreachable(self, reason: str | None) -> None:
        with self._lock:
            before, self._condition.unreachable = self._condition.unreachable, reason
        if reason is not None and before is None:
            log.warning("redis_unreachable", reason=reason, held_by=type(self).__name__)
        if reason is None and before is not None:
            log.info("redis_reachable_again", held_by=type(self).__name__)

    def _set_empty(self, active: Mapping[str, str]) -> None:
        with self._lock:
            before, self._condition.empty = self._condition.empty, None if active else self._store.empty_because
        if not active and before is None:
            log.warning("no_bank_is_active", reason=self._store.empty_because, held_by=type(self).__name__)

    def _tell(self) -> None:
        """The metrics."""
        now = self.condition()
        troubles = {
            "unreachable": now.unreachable is not None,
            "empty": now.empty is not None,
            "lost": len(now.lost),
            "refused": len(now.refused),
            "lacking": len(now.lacking),
        }
        for trouble, number in troubles.items():
            telemetry.BANK_TROUBLE.labels(self.holds, trouble).set(number)
        with self._lock:
            telemetry.BANKS_HELD.labels(self.holds).set(self._holding())

    def _set_lost(self, product: str, *, is_lost: bool) -> None:
        with self._lock:
            was_lost = product in self._condition.lost
            (self._condition.lost.add if is_lost else self._condition.lost.discard)(product)
        if is_lost and not was_lost:
            log.warning("bank_lost_in_redis", product=product, consequence="the one held goes on judging")

    def _set_refused(self, product: str, reason: str) -> None:
        with self._lock:
            before = self._condition.refused.get(product)
            self._condition.refused[product] = reason
        if before is None:
            log.error("bank_version_refused", product=product, reason=reason)

    def _settle(self, product: str) -> None:
        """Nothing is wrong with the product, or Redis does not know it and the next chip is told so."""
        with self._lock:
            self._condition.refused.pop(product, None)
            self._condition.lacking.pop(product, None)
