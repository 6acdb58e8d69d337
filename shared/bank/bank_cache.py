"""The banks that a running matcher judges with, followed live."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

import structlog
from typing_extensions import override

from shared import metrics
from shared.bank.bundle import Bundle
from shared.bank.errors import CorruptBundle, UnknownFeatureSpace
from shared.bank.following import Follower
from shared.bank.store import BankStore
from shared.vision.bank import Bank
from shared.vision.memory_bank import LayerBank

MAX_BANKS: Final = 64
MAX_BYTES: Final = 512 << 20
# Matching keeps a float32 copy beside the int8 vectors.
BYTES_IN_MEMORY: Final = 5

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Held:
    bank: Bank
    size: int
    """Bytes in memory."""


class BankCache(Follower):
    """The banks a matcher judges with, one a product and feature space, least recently used out first.

    `get` gives the active bank where that lives in the space asked for. During a change-over of spaces the bank of
    the old space stays until it falls out of use, so that chips on their way are judged in the space they were
    looked at in. A bank is immutable and swapped whole: who got one may use it for a batch while the next one comes.
    """

    holds = "banks"

    def __init__(
        self, store: BankStore, *, max_banks: int = MAX_BANKS, max_bytes: int = MAX_BYTES, **timing: Any
    ) -> None:
        super().__init__(store, **timing)
        self._max_banks = max_banks
        self._max_bytes = max_bytes
        self._banks: OrderedDict[tuple[str, str], _Held] = OrderedDict()
        self._versions: dict[str, str] = {}
        """Product → the active version that was last taken; no more of it may be held where space was short."""

    def preload(self) -> None:
        """Take the active banks of all products, as many as are held; damaged ones are logged and left out.

        Raises:
            BankUnavailable: Redis cannot be reached.
        """
        self._preload(self._max_banks)

    def get(self, product: str, feature_space: str) -> Bank:
        """The bank that judges the product's chips in this feature space.

        That is the active one; where the active one lives in another space, the one of this space that was active
        last; else the newest published one.

        Raises:
            UnknownFeatureSpace: no published bank of the product lives in the space.
            BankUnavailable: the bank is not held, and Redis cannot be reached, has it damaged, or has no active one of
                the product: it lost it.
        """
        bank = self._held(product, feature_space)
        return bank or self._ask((product, feature_space), lambda: self._find(product, feature_space))

    def held(self) -> list[Bank]:
        """What is held, least recently used first."""
        with self._lock:
            return [held.bank for held in self._banks.values()]

    def _held(self, product: str, feature_space: str) -> Bank | None:
        with self._lock:
            held = self._banks.get((product, feature_space))
            if held is None:
                return None
            self._banks.move_to_end((product, feature_space))
            return held.bank

    def _find(self, product: str, feature_space: str) -> Bank:
        bank = self._held(product, feature_space)  # it may have come while this thread waited
        if bank is not None:
            return bank
        active = self._active(product)
        # Damage counts where it is the active version's, which has to judge. Any other is skipped.
        if self._store.manifest(product, active).feature_space == feature_space:
            return self._put(self._store.bundle(product, active), active=True)
        earlier = dict.fromkeys([*self._store.history(product), *self._store.versions(product)])
        damage: CorruptBundle | None = None
        for version in (version for version in earlier if version != active):
            try:
                if self._store.manifest(product, version).feature_space != feature_space:
                    continue
            except CorruptBundle:
                continue
            try:
                return self._put(self._store.bundle(product, version), active=False)
            except CorruptBundle as error:
                damage = damage or error
        if damage is not None:
            raise damage
        raise UnknownFeatureSpace(
            f"no published bank of {product} lives in feature space {feature_space!r}: "
            "publish the one again that was removed (--no-activate will do), then replay the dead letters"
        )

    def _put(self, bundle: Bundle, *, active: bool) -> Bank:
        bank = bundle.bank
        # On the thread that loads, not at the first chip.
        for layer, memory in zip(bank.recipe.layers, bank.layers, strict=True):
            if isinstance(memory, LayerBank):  # other memories derive nothing
                memory.warm_up(layer.metric)
        dropped: list[Bank] = []
        with self._lock:
            self._banks[bank.product, bank.feature_space] = _Held(bank, BYTES_IN_MEMORY * bundle.manifest.size)
            if active:
                self._versions[bank.product] = bank.version
                metrics.BANK.labels(bank.product).info({"version": bank.version})
            while len(self._banks) > 1 and (
                len(self._banks) > self._max_banks or sum(held.size for held in self._banks.values()) > self._max_bytes
            ):
                dropped.append(self._banks.popitem(last=False)[1].bank)
            for product in self._versions.keys() - {product for product, _ in self._banks}:
                del self._versions[product]
                metrics.BANK.remove(product)  # else it would name a version that is not followed any more
        for each in dropped:
            # Where all of them are needed in turns, every batch waits for one to be loaded.
            log.warning(
                "bank_dropped",
                product=each.product,
                version=each.version,
                feature_space=each.feature_space,
                held=self._max_banks,
                held_bytes=self._max_bytes,
                remedy="raise CHIPSIEVE_MATCHING__MAX_BANKS or __BANKS_MIB, and the memory limit; or run more matchers",
            )
        return bank

    @override
    def _load_and_swap(self, product: str, version: str) -> None:
        with self._lock:
            if any(held.bank.product == product and held.bank.version == version for held in self._banks.values()):
                self._versions[product] = version  # rolled back to the other space's bank, which is still here
                metrics.BANK.labels(product).info({"version": version})
                return
        self._put(self._store.bundle(product, version), active=True)

    @override
    def _followed(self) -> dict[str, str | None]:
        return {product: self._versions.get(product) for product, _ in self._banks}

    @override
    def _had(self, product: str) -> bool:
        return True  # whoever asks has features, and an extractor makes these by the recipe of an active version alone

    @override
    def _holding(self) -> int:
        return len(self._banks)
