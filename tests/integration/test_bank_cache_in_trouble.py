"""What caches of banks do where Redis is away, emptied or damaged: they keep what they hold, and say so."""

import signal

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from shared import metrics
from shared.bank.bank_cache import BankCache
from shared.bank.errors import BankUnavailable, UnknownFeatureSpace, UnknownProduct
from shared.bank.recipe_cache import RecipeCache
from shared.bank.store import BankStore
from shared.bank.troubles import ASKED_FOR_S
from shared.vision.recipe import DEFAULT_RECIPE
from tests.banks import make, make_graphs
from tests.integration.bank_caches import (
    NEVER,
    OTHER_RECIPE,
    OTHER_SPACE,
    SPACE,
    Clock,
    Vandal,
    count_calls,
    version_of,
)
from tests.integration.valkey import Valkey, wait_until


def test_without_redis_what_is_held_goes_on_and_what_is_not_pauses(valkey: Valkey, clock: Clock) -> None:
    store = BankStore(valkey.settings)
    store.publish(make("held"))
    store.publish(make("other"))
    with (
        BankCache(BankStore(valkey.settings), poll_seconds=NEVER, clock=clock) as banks,
        RecipeCache(BankStore(valkey.settings), poll_seconds=NEVER, clock=clock) as recipes,
    ):
        banks.get("held", SPACE)
        recipes.recipe("held")
        valkey.stop()
        with capture_logs() as logs:
            for _ in range(3):
                banks.refresh()
                recipes.refresh()
        assert [line["event"] for line in logs] == ["redis_unreachable"] * 2
        assert banks.get("held", SPACE).product == "held"
        assert recipes.recipe("held") == (DEFAULT_RECIPE, SPACE)
        for cache in (banks, recipes):
            assert cache.not_ready_because() is None
            assert "cannot be reached" in (cache.degraded_because() or "")
        for ask in (lambda: banks.get("other", SPACE), lambda: recipes.recipe("other")):
            for _ in range(2):  # the second time without waiting for Redis again
                with pytest.raises(BankUnavailable, match="cannot be reached"):
                    ask()
        for cache in (banks, recipes):
            assert "cannot be reached" in (cache.not_ready_because() or "")
        valkey.start()
        for cache in (banks, recipes):
            cache.refresh()
            assert cache.not_ready_because() is None
            assert cache.degraded_because() is None
        clock.now += 1.0
        assert banks.get("other", SPACE).product == "other"
        assert recipes.recipe("other") == (DEFAULT_RECIPE, SPACE)
    store.close()


def test_a_frozen_redis_holds_up_nobody_who_holds_banks(
    valkey: Valkey, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.bank.connection.REPLY_SECONDS", 0.1)
    store = BankStore(valkey.settings)
    store.publish(make())
    with BankCache(BankStore(valkey.settings), poll_seconds=0.01, clock=clock) as banks:
        banks.get("chip", SPACE)
        valkey.send(signal.SIGSTOP)
        try:
            wait_until(lambda: "cannot be reached" in (banks.degraded_because() or ""))
            assert banks.get("chip", SPACE).product == "chip"
            with pytest.raises(BankUnavailable, match="cannot be reached"):
                banks.get("ghost", SPACE)
        finally:
            valkey.send(signal.SIGCONT)
        clock.now += ASKED_FOR_S + 1  # nobody asks for a ghost any more
        wait_until(lambda: banks.degraded_because() is None and banks.not_ready_because() is None)
    store.close()


def test_nothing_held_and_no_redis_is_not_ready(valkey: Valkey, clock: Clock) -> None:
    valkey.stop()
    with (
        BankCache(BankStore(valkey.settings), poll_seconds=NEVER, clock=clock) as banks,
        RecipeCache(BankStore(valkey.settings), poll_seconds=NEVER, clock=clock) as recipes,
    ):
        with pytest.raises(BankUnavailable):
            banks.preload()
        with pytest.raises(BankUnavailable):
            recipes.published()
        for cache in (banks, recipes):
            cache.refresh()
            assert "cannot be reached" in (cache.not_ready_because() or "")
        valkey.start()
        for cache in (banks, recipes):
            cache.refresh()
            assert "cannot be reached" not in (cache.not_ready_because() or "")


def test_a_redis_without_any_bank_is_an_outage_and_no_unknown_product(
    store: BankStore, banks: BankCache, recipes: RecipeCache, clock: Clock
) -> None:
    banks.preload()
    assert recipes.published() == []
    for cache in (banks, recipes):
        assert "no active bank of any product: `chipsieve bank publish`" in (cache.not_ready_because() or "")
    for ask in (lambda: banks.get("chip", SPACE), lambda: recipes.recipe("chip")):
        with pytest.raises(BankUnavailable, match="'chip'"):
            ask()
    store.publish(make("another"))
    clock.now += 1.0
    recipes.refresh()
    assert recipes.not_ready_because() is None
    with pytest.raises(UnknownProduct, match="'chip'"):
        recipes.recipe("chip")


def test_chips_that_an_extractor_has_looked_at_wait_while_a_redis_that_was_emptied_is_filled_again(
    store: BankStore, banks: BankCache, clock: Clock
) -> None:
    with pytest.raises(BankUnavailable, match="'chip'"):
        banks.get("chip", SPACE)
    store.publish(make("another"))
    clock.now += 1.0
    for _ in range(2):
        banks.refresh()
        assert "'chip'" in (banks.not_ready_because() or "")
        assert banks.condition().lacking.keys() == {"chip"}
        with pytest.raises(BankUnavailable, match=r"'chip'.*publish it again"):
            banks.get("chip", SPACE)
    store.publish(make())
    banks.refresh()
    assert banks.not_ready_because() is None
    clock.now += 1.0
    assert banks.get("chip", SPACE).product == "chip"


def test_a_product_that_no_chip_has_asked_for_in_a_while_keeps_nobody_from_being_ready(
    store: BankStore, banks: BankCache, clock: Clock
) -> None:
    store.publish(make("another"))
    for _ in range(3):  # a chip that waits asks again
        with pytest.raises(BankUnavailable):
            banks.get("chip", SPACE)
        clock.now += ASKED_FOR_S - 1
        banks.refresh()
        assert "'chip'" in (banks.not_ready_because() or "")
    clock.now += 2.0  # its partition went to another worker
    assert banks.not_ready_because() is None
    banks.refresh()
    assert REGISTRY.get_sample_value("chipsieve_bank_trouble", {"holds": "banks", "trouble": "lacking"}) == 0


@pytest.mark.parametrize("others", [(), ("other",)])
def test_a_product_published_while_it_is_asked_for_is_not_unknown(
    store: BankStore, recipes: RecipeCache, monkeypatch: pytest.MonkeyPatch, others: tuple[str, ...]
) -> None:
    for other in others:
        store.publish(make(other))
    original = BankStore.all_active

    def publish_first(self: BankStore) -> dict[str, str]:
        if "chip" not in original(self):
            store.publish(make())
        return original(self)

    monkeypatch.setattr(BankStore, "all_active", publish_first)
    assert recipes.recipe("chip") == (DEFAULT_RECIPE, SPACE)


def test_what_is_wrong_and_how_much_is_held_can_be_watched(store: BankStore, banks: BankCache, vandal: Vandal) -> None:
    def told() -> dict[str, float]:
        banks.refresh()
        troubles = ("unreachable", "empty", "lost", "refused", "lacking")
        return {
            trouble: number
            for trouble in troubles
            if (number := metrics.BANK_TROUBLE.labels("banks", trouble)._value.get())
        }

    assert told() == {"empty": 1}
    for product in ("chip", "another"):
        store.publish(make(product))
        banks.get(product, SPACE)
    assert told() == {}
    assert metrics.BANKS_HELD.labels("banks")._value.get() == 2
    damaged = make("another", seed=1, minute=1)
    store.publish(damaged)
    vandal.damage(damaged)
    assert told() == {"refused": 1}
    vandal.flush()
    assert told() == {"empty": 1, "lost": 2}


def test_a_flushed_redis_takes_nothing_from_those_who_hold_banks(
    store: BankStore, banks: BankCache, recipes: RecipeCache, vandal: Vandal
) -> None:
    store.publish(make())
    banks.get("chip", SPACE)
    recipes.recipe("chip")
    vandal.flush()
    with capture_logs() as logs:
        for cache in (banks, recipes):
            cache.refresh()
            cache.refresh()
            assert cache.condition().lost == {"chip"}
            assert "lost the active bank of chip" in (cache.degraded_because() or "")
            assert cache.not_ready_because() is None
    assert [line["event"] for line in logs] == ["no_bank_is_active", "bank_lost_in_redis"] * 2
    assert banks.get("chip", SPACE).product == "chip"
    assert recipes.recipe("chip") == (DEFAULT_RECIPE, SPACE)
    # A space that is not held is an outage of a known product, not an unknown product.
    with pytest.raises(BankUnavailable, match="lost it: publish it again"):
        banks.get("chip", OTHER_SPACE)
    store.publish(make(seed=1, minute=1))
    banks.refresh()
    assert banks.get("chip", SPACE).version == version_of(make(seed=1, minute=1))
    assert banks.degraded_because() is None


def test_a_damaged_version_does_not_take_the_place_of_a_good_one(
    store: BankStore,
    banks: BankCache,
    clock: Clock,
    vandal: Vandal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old, new = make(seed=1), make(seed=2, minute=1)
    store.publish(old)
    banks.get("chip", SPACE)
    store.publish(new)
    vandal.damage(new)
    loads = count_calls(monkeypatch, "bundle")
    with capture_logs() as logs:
        for _ in range(3):
            banks.refresh()
    assert [line["event"] for line in logs] == ["bank_version_refused"]
    assert len(loads) == 1  # not at every poll
    assert banks.get("chip", SPACE).version == version_of(old)
    assert banks.not_ready_because() is None
    assert f"{version_of(new)} of chip is not used" in (banks.degraded_because() or "")
    store.publish(new)
    clock.now += 10.0
    banks.refresh()
    assert banks.get("chip", SPACE).version == version_of(new)
    assert banks.degraded_because() is None


def test_damaged_versions_are_remembered_only_while_they_are_not_tried_again(
    store: BankStore, banks: BankCache, clock: Clock, vandal: Vandal
) -> None:
    store.publish(make())
    banks.get("chip", SPACE)
    for number in range(1, 4):
        damaged = make(seed=number, minute=number)
        store.publish(damaged)
        vandal.damage(damaged)
        clock.now += 10.0
        banks.refresh()
        assert banks._corrupt_until.keys() == {("chip", version_of(damaged))}


def test_a_damaged_active_bank_pauses_a_fresh_matcher_until_it_is_mended(
    store: BankStore, banks: BankCache, clock: Clock, vandal: Vandal
) -> None:
    bundle = make()
    store.publish(bundle)
    store.publish(make("fine"))
    vandal.damage(bundle)
    banks.preload()
    assert [bank.product for bank in banks.held()] == ["fine"]
    with pytest.raises(BankUnavailable, match=r"layer0\.values\.npy does not have the sha256"):
        banks.get("chip", SPACE)
    banks.refresh()
    assert "sha256" in (banks.not_ready_because() or "")
    store.publish(bundle)
    clock.now += 10.0
    banks.refresh()
    assert banks.not_ready_because() is None
    assert banks.get("chip", SPACE).version == version_of(bundle)


def test_damage_in_a_version_that_nobody_asks_for_stops_nothing(
    store: BankStore, banks: BankCache, vandal: Vandal
) -> None:
    forgotten = make(seed=1)
    store.publish(forgotten)
    store.publish(make(seed=2, minute=1))
    vandal.damage_manifest(forgotten)
    with pytest.raises(UnknownFeatureSpace):
        banks.get("chip", OTHER_SPACE)


def test_a_redis_that_does_not_answer_is_asked_once_and_not_for_each_product_of_a_batch(
    valkey: Valkey, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = count_calls(monkeypatch, "active")
    valkey.stop()
    with (
        BankCache(BankStore(valkey.settings), poll_seconds=NEVER, clock=clock) as banks,
        RecipeCache(BankStore(valkey.settings), poll_seconds=NEVER, clock=clock) as recipes,
    ):
        for cache, ask in ((banks, lambda product: banks.get(product, SPACE)), (recipes, recipes.recipe)):
            for _ in range(3):  # batches
                for product in ("one", "two", "three"):
                    with pytest.raises(BankUnavailable, match="cannot be reached"):
                        ask(product)
                clock.now += 1.0
            assert cache.condition().lacking.keys() == {"one", "two", "three"}
        assert asked == [("one",)] * 2


def test_chips_that_wait_for_what_their_active_version_does_not_have_are_counted(
    store: BankStore, banks: BankCache, recipes: RecipeCache, vandal: Vandal, clock: Clock
) -> None:
    def counted(holds: str) -> float | None:
        return REGISTRY.get_sample_value("chipsieve_bank_trouble", {"holds": holds, "trouble": "lacking"})

    before, active = make(recipe=OTHER_RECIPE), make(minute=1, graphs=make_graphs())
    for bundle in (before, active):
        store.publish(bundle)
    banks.get("chip", active.manifest.feature_space)
    recipe, _ = recipes.recipe("chip")
    vandal.damage(before)  # in the space of chips that were on their way
    vandal.lose_graphs(active)
    for _ in range(2):
        with pytest.raises(BankUnavailable):
            banks.get("chip", OTHER_SPACE)
        with pytest.raises(BankUnavailable):
            recipes.graphs(recipe)
        for cache in (banks, recipes):
            cache.refresh()
            assert cache.condition().lacking.keys() == {"chip"}
            assert counted(cache.holds) == 1
    for bundle in (before, active):
        store.publish(bundle)
    clock.now += 1.0
    banks.get("chip", OTHER_SPACE)
    recipes.graphs(recipe)
    for cache in (banks, recipes):
        cache.refresh()
        assert counted(cache.holds) == 0
