"""Following the active pointers in the background, and going on with what is held where Redis is away."""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, Final, Self, TypeVar

import structlog

from shared import metrics
from shared.bank.errors import (
    BankError,
    BankUnavailable,
    CorruptBundle,
    RedisUnreachable,
    UnknownProduct,
    UnknownVersion,
)
from shared.bank.store import BankStore
from shared.bank.troubles import Condition, Troubles

POLL_SECONDS: Final = 0.25  # an activation is seen within half a second, loading included for banks of a few MB
# A flood of chips of an unknown product costs two questions a second, and a publish ends it as fast as an activation.
NEGATIVE_SECONDS: Final = 0.5
RETRY_CORRUPT_SECONDS: Final = 5.0  # a damaged version may be mended by publishing it again; until then not every poll
MAX_NEGATIVES: Final = 10_000  # garbage product names must not fill the memory
CLOSE_SECONDS: Final = 2.0  # a thread that waits for a dead Redis longer than that ends with the process

T = TypeVar("T")
log = structlog.get_logger(__name__)


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
        """One loads at a time, so that a miss and the background thread do not fetch the same bank twice.

        Whoever swaps reads the pointer while holding it: so what is held follows the pointer in its order, and a poll
        that read it before a miss did never puts the older version back.
        """
        self._troubles = Troubles(self.holds, type(self).__name__, clock=clock)
        self._negatives: dict[tuple[str, ...], tuple[float, type[BankError], str]] = {}
        """Until when to give the same answer again. No exception is kept: its traceback would keep whole batches."""
        self._corrupt_until: dict[tuple[str, str], float] = {}
        """Product and version → until when it is not tried again."""
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
        return self._troubles.now()

    def not_ready_because(self) -> str | None:
        """Why chips cannot be judged now, or None.

        An outage of Redis alone is no reason: what is held goes on judging. It is one where a product was asked for
        that is not held, or where nothing is held at all; so is a Redis without any bank.
        """
        now = self.condition()
        if now.lacking:
            return next(iter(now.lacking.values()))
        with self._lock:
            return None if self._holding() else now.unreachable or now.empty

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
        # Before the pointers: a product that a miss brings meanwhile is newer than they are, and not lost.
        with self._lock:
            followed = dict.fromkeys(self._troubles.now().lacking) | self._followed()
        try:
            active = self._store.all_active()
        except BankUnavailable as error:
            self._troubles.set_unreachable(str(error))
        else:
            self._troubles.set_unreachable(None)
            self._follow_to(active, followed)
        self._troubles.tell()
        with self._lock:
            metrics.BANKS_HELD.labels(self.holds).set(self._holding())

    def _follow_to(self, active: Mapping[str, str], followed: Mapping[str, str | None]) -> None:
        self._troubles.set_empty(None if active else self._store.empty_because)
        self._troubles.keep(followed)
        for product, held in followed.items():
            version = active.get(product)
            self._troubles.set_lost(product, is_lost=version is None and held is not None)
            if version is not None and version != held:
                self._take(product, version)
            else:
                # That the active version is held says nothing of what chips wait for: it may be its int8 graphs, or a
                # bank of another space. Whoever asks for that finds out.
                self._troubles.settle(product, still_lacking=version is not None or self._had(product))

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
        self._troubles.set_unreachable(None)
        self._troubles.set_empty(None if active else self._store.empty_because)
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
            active = self._store.all_active()
            if not active:
                raise BankUnavailable(str(error)) from error
            if product in active:  # published between the two questions
                return active[product]
            raise

    def _ask(self, key: tuple[str, ...], load: Callable[[], T]) -> T:
        """Load what is not held, unless the same was refused a moment ago. `key` begins with the product.

        While Redis is known to be away nothing is asked: the background thread finds out when it is back, and each
        question would take seconds in which the chips of products that are held are not judged either.

        Raises what `load` raises; a `CorruptBundle` as `BankUnavailable`, since the chips are not at fault.
        """
        self._start()
        product = key[0]
        self._raise_if_refused_lately(key)
        with self._loading:
            self._raise_if_refused_lately(key)  # by another thread, while this one waited
            try:
                if away := self._troubles.now().unreachable:
                    raise RedisUnreachable(away)
                found = load()
            except (CorruptBundle, UnknownVersion) as error:
                raise self._remember(key, BankUnavailable(f"{error} (or roll back)")) from error
            except BankError as error:
                if isinstance(error, RedisUnreachable):
                    self._troubles.set_unreachable(str(error))
                self._remember(key, error)
                raise
        self._troubles.set_lacking(product, None)
        with self._lock:
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
            except Exception:  # a cache that silently stopped following would judge with outdated banks for ever
                log.exception("bank_refresh_failed")

    def _take(self, product: str, version: str) -> None:
        """Take the product's active version, `version` when the pointers were last read, unless that is held by now."""
        if self._clock() < self._corrupt_until.get((product, version), 0.0):
            return
        try:
            with self._loading:
                version = self._store.active(product)
                with self._lock:
                    is_new = self._followed().get(product) != version
                if is_new:
                    self._load_and_swap(product, version)
        except UnknownProduct:
            return  # lost this moment, as the next poll will tell
        except (CorruptBundle, UnknownVersion) as error:
            self._doubt(product, version)
            self._troubles.set_refused(product, f"active version {version} of {product} is not used: {error}")
        except BankUnavailable as error:
            self._troubles.set_unreachable(str(error))
        else:
            self._troubles.settle(product)
            if is_new:
                log.info("bank_version_taken", product=product, version=version, held_by=type(self).__name__)

    def _doubt(self, product: str, version: str) -> None:
        now = self._clock()
        with self._lock:
            self._corrupt_until = {tried: until for tried, until in self._corrupt_until.items() if now < until}
            self._corrupt_until[product, version] = now + RETRY_CORRUPT_SECONDS

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
        self._troubles.set_lacking(key[0], str(error) if isinstance(error, BankUnavailable) else None)
        return error
