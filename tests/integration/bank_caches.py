"""Bank caches on a clock of the test's own, and what may go wrong in Redis under them."""

from collections.abc import Iterator
from typing import Any

import pytest

from shared.bank.bank_cache import BankCache
from shared.bank.bundle import Bundle
from shared.bank.recipe_cache import RecipeCache
from shared.bank.store import BankStore
from shared.vision import int8_graphs
from shared.vision.recipe import DEFAULT_RECIPE, Layer, Recipe
from tests.banks import WEIGHTS
from tests.integration.valkey import Valkey

OTHER_RECIPE = Recipe(layers=(Layer(tap="b4"), Layer(tap="b7", metric="l2")))
SPACE = DEFAULT_RECIPE.feature_space(WEIGHTS)
OTHER_SPACE = OTHER_RECIPE.feature_space(WEIGHTS)
NEVER = 3600.0  # seconds: such a test calls `refresh` itself


class Clock:
    """A clock that the test winds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def banks(shared_valkey: Valkey, namespace: str, clock: Clock) -> Iterator[BankCache]:
    """A cache that follows only when the test says so."""
    with BankCache(BankStore(shared_valkey.settings, namespace=namespace), poll_seconds=NEVER, clock=clock) as cache:
        yield cache


@pytest.fixture
def recipes(shared_valkey: Valkey, namespace: str, clock: Clock) -> Iterator[RecipeCache]:
    with RecipeCache(BankStore(shared_valkey.settings, namespace=namespace), poll_seconds=NEVER, clock=clock) as cache:
        yield cache


def version_of(bundle: Bundle) -> str:
    return bundle.manifest.version


def count_calls(monkeypatch: pytest.MonkeyPatch, method: str) -> list[tuple[Any, ...]]:
    """The arguments of every call of a store's method from now on."""
    calls: list[tuple[Any, ...]] = []
    original = getattr(BankStore, method)

    def counted(self: BankStore, *arguments: Any) -> Any:
        calls.append(arguments)
        return original(self, *arguments)

    monkeypatch.setattr(BankStore, method, counted)
    return calls


class Vandal:
    """Does to the test's keys what a careless hand would."""

    def __init__(self, valkey: Valkey, namespace: str) -> None:
        self._valkey = valkey
        self._namespace = namespace

    def flush(self) -> None:
        with self._valkey.client() as client:
            client.delete(*client.keys(f"{self._namespace}:*"))

    def damage(self, bundle: Bundle) -> None:
        with self._valkey.client() as client:
            key = f"{self._namespace}:bank:arrays:{bundle.manifest.product}:{version_of(bundle)}"
            client.hset(key, "layer0.values.npy:0", b"damaged")

    def lose_graphs(self, bundle: Bundle) -> None:
        with self._valkey.client() as client:
            key = f"{self._namespace}:bank:arrays:{bundle.manifest.product}:{version_of(bundle)}"
            client.hdel(key, *(field for field in client.hkeys(key) if field.startswith(int8_graphs.PREFIX.encode())))

    def damage_manifest(self, bundle: Bundle) -> None:
        with self._valkey.client() as client:
            client.hset(f"{self._namespace}:bank:manifests:{bundle.manifest.product}", version_of(bundle), b"damaged")


@pytest.fixture
def vandal(shared_valkey: Valkey, namespace: str) -> Vandal:
    return Vandal(shared_valkey, namespace)
