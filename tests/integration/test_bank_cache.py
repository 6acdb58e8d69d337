import threading
from collections.abc import Callable

import numpy as np
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from shared.bank.bank_cache import BankCache
from shared.bank.errors import BankUnavailable, UnknownFeatureSpace, UnknownProduct
from shared.bank.recipe_cache import RecipeCache
from shared.bank.store import BankStore
from shared.bank.troubles import Condition
from shared.vision.recipe import DEFAULT_RECIPE
from tests.banks import assert_same, make
from tests.integration.bank_caches import NEVER, OTHER_RECIPE, OTHER_SPACE, SPACE, Clock, count_calls, version_of
from tests.integration.valkey import Valkey, wait_until


def test_the_active_bank_is_loaded_once(store: BankStore, banks: BankCache, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = make()
    store.publish(bundle)
    loads = count_calls(monkeypatch, "bundle")
    assert_same(banks.get("chip", SPACE), bundle.bank)
    assert banks.get("chip", SPACE) is banks.get("chip", SPACE)
    assert len(loads) == 1


def test_an_activation_and_a_rollback_are_followed(store: BankStore, banks: BankCache) -> None:
    old, new = make(seed=1), make(seed=2, minute=1)
    store.publish(old)
    assert banks.get("chip", SPACE).version == version_of(old)
    store.publish(new)
    assert banks.get("chip", SPACE).version == version_of(old)
    banks.refresh()
    assert banks.get("chip", SPACE).version == version_of(new)
    store.rollback("chip")
    banks.refresh()
    assert banks.get("chip", SPACE).version == version_of(old)


@pytest.mark.parametrize("move", ["activation", "rollback"])
def test_a_poll_whose_pointers_are_older_than_a_miss_takes_no_step_back(
    store: BankStore, banks: BankCache, monkeypatch: pytest.MonkeyPatch, move: str
) -> None:
    one, other = make(seed=1, minute=1), make(seed=2, minute=2)
    before, after = (one, other) if move == "activation" else (other, one)
    store.publish(make(recipe=OTHER_RECIPE))
    banks.get("chip", OTHER_SPACE)  # the product is followed, and a chip in another space is a miss
    for bundle in (after, before) if move == "rollback" else (before,):
        store.publish(bundle)

    def the_pointer_moves_and_a_chip_comes() -> None:
        store.rollback("chip") if move == "rollback" else store.publish(after)
        assert banks.get("chip", SPACE).version == version_of(after)

    after_reading_the_pointers(monkeypatch, the_pointer_moves_and_a_chip_comes)
    taken = count_calls(monkeypatch, "bundle")
    banks.refresh()
    assert banks.get("chip", SPACE).version == version_of(after)
    assert ("chip", version_of(before)) not in taken
    banks.refresh()
    assert banks.get("chip", SPACE).version == version_of(after)


def test_a_product_published_while_the_pointers_are_read_is_not_lost(
    store: BankStore, banks: BankCache, recipes: RecipeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.publish(make("another"))

    def a_product_is_published_and_its_chip_comes() -> None:
        store.publish(make())
        banks.get("chip", SPACE)
        recipes.recipe("chip")

    after_reading_the_pointers(monkeypatch, a_product_is_published_and_its_chip_comes)
    with capture_logs() as logs:
        banks.refresh()
        recipes.refresh()
    assert logs == []
    assert banks.condition() == recipes.condition() == Condition()


def after_reading_the_pointers(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], None]) -> None:
    """Something happens between the next poll's reading of the pointers and what it makes of them."""
    read = BankStore.all_active

    def read_a_moment_too_early(self: BankStore) -> dict[str, str]:
        pointers = read(self)
        monkeypatch.setattr(BankStore, "all_active", read)
        happens()
        return pointers

    monkeypatch.setattr(BankStore, "all_active", read_a_moment_too_early)


def test_which_version_judges_is_a_metric(store: BankStore, banks: BankCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def shown() -> list[str]:
        return [
            sample.labels["version"]
            for family in REGISTRY.collect()
            for sample in family.samples
            if sample.name == "chipsieve_bank_info" and sample.labels["product"] == "chip"
        ]

    second, of_another_space = make(seed=2, minute=1), make(recipe=OTHER_RECIPE, minute=2)
    store.publish(make(seed=1))
    banks.get("chip", SPACE)
    for bundle in (second, of_another_space):
        store.publish(bundle)
        banks.refresh()
        assert shown() == [version_of(bundle)]
    store.rollback("chip")
    banks.refresh()
    assert shown() == [version_of(second)]
    asked = count_calls(monkeypatch, "active")
    banks.refresh()
    assert asked == [], "it is known to be held"


def test_a_bank_that_made_room_is_no_version_that_judges(
    shared_valkey: Valkey, namespace: str, store: BankStore
) -> None:
    products = [f"{namespace}-{letter}" for letter in "abc"]
    for product in products:
        store.publish(make(product))

    def shown() -> list[str]:
        samples = [sample for family in REGISTRY.collect() for sample in family.samples]
        told = {sample.labels["product"] for sample in samples if sample.name == "chipsieve_bank_info"}
        return sorted(told & set(products))

    with BankCache(BankStore(shared_valkey.settings, namespace=namespace), poll_seconds=NEVER, max_banks=2) as banks:
        for product in products:
            banks.get(product, SPACE)
        assert shown() == products[1:]
        banks.get(products[0], SPACE)
        assert shown() == [products[0], products[2]]


def test_the_background_thread_follows_by_itself(shared_valkey: Valkey, namespace: str, store: BankStore) -> None:
    old, new = make(seed=1), make(recipe=OTHER_RECIPE, minute=1)
    store.publish(old)
    with (
        BankCache(BankStore(shared_valkey.settings, namespace=namespace), poll_seconds=0.01) as banks,
        RecipeCache(BankStore(shared_valkey.settings, namespace=namespace), poll_seconds=0.01) as recipes,
    ):
        assert banks.get("chip", SPACE).version == version_of(old)
        assert recipes.recipe("chip") == (DEFAULT_RECIPE, SPACE)
        store.publish(new)
        wait_until(lambda: recipes.recipe("chip") == (OTHER_RECIPE, OTHER_SPACE))
        wait_until(lambda: {bank.version for bank in banks.held()} == {version_of(old), version_of(new)})


def test_what_was_taken_before_the_first_chip_is_followed_too(
    shared_valkey: Valkey, namespace: str, store: BankStore
) -> None:
    store.publish(make(seed=1))
    new = make(seed=2, minute=1)
    with BankCache(BankStore(shared_valkey.settings, namespace=namespace), poll_seconds=0.01) as banks:
        banks.preload()
        store.publish(new)
        wait_until(lambda: [bank.version for bank in banks.held()] == [version_of(new)])


def test_both_spaces_are_judged_during_a_change_over(store: BankStore, banks: BankCache) -> None:
    old, new = make(seed=1), make(recipe=OTHER_RECIPE, minute=1)
    store.publish(old)
    banks.get("chip", SPACE)
    store.publish(new)
    # The extractor was quicker than our next poll: the pointer is looked at when the first chip comes.
    assert banks.get("chip", OTHER_SPACE).version == version_of(new)
    banks.refresh()
    assert banks.get("chip", SPACE).version == version_of(old)


def test_a_matcher_started_during_a_change_over_takes_what_was_active_last_in_the_old_space(
    store: BankStore, banks: BankCache
) -> None:
    earlier, last, never, new = (
        make(seed=1),
        make(seed=2, minute=1),
        make(seed=3, minute=2),
        make(recipe=OTHER_RECIPE, minute=3),
    )
    store.publish(earlier)
    store.publish(last)
    store.publish(never, activate=False)
    store.publish(new)
    assert banks.get("chip", SPACE).version == version_of(last)
    banks.refresh()  # the active one is taken too, before its first chip comes
    assert {bank.version for bank in banks.held()} == {version_of(last), version_of(new)}


def test_features_ahead_of_the_pointer_are_judged_by_the_newest_published_bank_of_their_space(
    store: BankStore, banks: BankCache
) -> None:
    store.publish(make(seed=1))
    for seed in (1, 2):
        store.publish(make(recipe=OTHER_RECIPE, seed=seed, minute=seed), activate=False)
    assert banks.get("chip", OTHER_SPACE).version == version_of(make(recipe=OTHER_RECIPE, seed=2, minute=2))


def test_an_unknown_feature_space_is_refused(store: BankStore, banks: BankCache) -> None:
    store.publish(make())
    for space in ("0" * 16, ""):
        with pytest.raises(
            UnknownFeatureSpace, match=r"lives in feature space.*publish the one again that was removed"
        ):
            banks.get("chip", space)
    assert banks.not_ready_because() is None


def test_a_flood_of_unknown_chips_asks_redis_once_in_a_while(
    store: BankStore, banks: BankCache, recipes: RecipeCache, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.publish(make())
    asked = count_calls(monkeypatch, "active")
    for _ in range(100):
        with pytest.raises(BankUnavailable, match="'ghost'"):
            banks.get("ghost", SPACE)
        with pytest.raises(UnknownFeatureSpace):
            banks.get("chip", OTHER_SPACE)
        with pytest.raises(UnknownProduct):
            recipes.recipe("ghost")
    assert sorted(asked) == [("chip",), ("ghost",), ("ghost",)]
    store.publish(make("ghost"))
    clock.now += 1.0
    assert banks.get("ghost", SPACE).product == "ghost"
    assert recipes.recipe("ghost") == (DEFAULT_RECIPE, SPACE)


def test_the_memory_of_unknown_products_is_bounded(
    store: BankStore, banks: BankCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.publish(make())
    monkeypatch.setattr("shared.bank.following.MAX_NEGATIVES", 10)
    for number in range(50):
        with pytest.raises(BankUnavailable):
            banks.get(f"ghost-{number}", SPACE)
    assert len(banks._negatives) <= 10


@pytest.mark.parametrize(
    "limit", [{"max_banks": 2}, {"max_bytes": 2 * 5 * make().manifest.size}], ids=["count", "bytes"]
)
def test_the_least_recently_used_bank_makes_room_and_is_told_of(
    shared_valkey: Valkey, namespace: str, store: BankStore, limit: dict[str, int]
) -> None:
    for product in ("a", "b", "c"):
        store.publish(make(product))
    with BankCache(BankStore(shared_valkey.settings, namespace=namespace), poll_seconds=NEVER, **limit) as banks:
        with capture_logs() as logs:
            for product in ("a", "b", "a"):
                banks.get(product, SPACE)
            assert logs == []
            banks.get("c", SPACE)
        [told] = logs
        assert (told["event"], told["product"], told["version"]) == ("bank_dropped", "b", version_of(make("b")))
        assert [bank.product for bank in banks.held()] == ["a", "c"]
        banks.refresh()
        assert [bank.product for bank in banks.held()] == ["a", "c"]
        assert banks.get("b", SPACE).product == "b"


def test_a_bank_larger_than_the_limit_still_judges(shared_valkey: Valkey, namespace: str, store: BankStore) -> None:
    store.publish(make())
    with BankCache(BankStore(shared_valkey.settings, namespace=namespace), poll_seconds=NEVER, max_bytes=1) as banks:
        assert banks.get("chip", SPACE).product == "chip"
        assert len(banks.held()) == 1


def test_room_for_one_bank_does_not_load_two_in_turn_while_nothing_changes(
    shared_valkey: Valkey, namespace: str, store: BankStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.publish(make(seed=1))
    with BankCache(BankStore(shared_valkey.settings, namespace=namespace), poll_seconds=NEVER, max_banks=1) as banks:
        banks.get("chip", SPACE)
        store.publish(make(recipe=OTHER_RECIPE, minute=1))
        banks.refresh()
        banks.get("chip", SPACE)
        loads = count_calls(monkeypatch, "bundle")
        for _ in range(5):
            banks.refresh()
            banks.get("chip", SPACE)
        assert loads == []


def test_all_active_banks_are_there_before_the_first_chip(
    store: BankStore, banks: BankCache, recipes: RecipeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.publish(make("a"))
    store.publish(make("b"))
    store.publish(make("c", recipe=OTHER_RECIPE))
    banks.preload()
    assert sorted(bank.product for bank in banks.held()) == ["a", "b", "c"]
    assert sorted(recipes.published(), key=str) == sorted([DEFAULT_RECIPE, OTHER_RECIPE], key=str)
    asked = count_calls(monkeypatch, "active")
    banks.get("a", SPACE)
    recipes.recipe("c")
    assert asked == []


def test_the_recipe_is_read_without_the_arrays(
    store: BankStore, recipes: RecipeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.publish(make())
    downloads = count_calls(monkeypatch, "_blobs")
    assert recipes.recipe("chip") == (DEFAULT_RECIPE, SPACE)
    store.publish(make(recipe=OTHER_RECIPE, minute=1))
    downloads.clear()  # publishing looks whether the version is there already
    recipes.refresh()
    assert recipes.recipe("chip") == (OTHER_RECIPE, OTHER_SPACE)
    assert downloads == []


def test_a_bank_is_swapped_whole_under_the_hands_of_many_threads(
    shared_valkey: Valkey, namespace: str, store: BankStore
) -> None:
    bundles = [make(seed=seed, minute=seed, vectors=200, channels=32) for seed in range(6)]
    expected = {version_of(bundle): bundle.bank for bundle in bundles}
    store.publish(bundles[0])
    done = threading.Event()
    failures: list[BaseException] = []
    with BankCache(BankStore(shared_valkey.settings, namespace=namespace), poll_seconds=0.001) as banks:

        def judge() -> None:
            try:
                while not done.is_set():
                    bank = banks.get("chip", SPACE)
                    for layer, truth in zip(bank.layers, expected[bank.version].layers, strict=True):
                        assert np.array_equal(layer.values, truth.values)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=judge) for _ in range(3)]
        for thread in threads:
            thread.start()
        for bundle in bundles[1:]:
            store.publish(bundle)
            wait_until(lambda bundle=bundle: banks.get("chip", SPACE).version == version_of(bundle))
        done.set()
        for thread in threads:
            thread.join()
    assert failures == []


def test_what_matching_needs_is_computed_before_the_bank_is_handed_out(store: BankStore, banks: BankCache) -> None:
    store.publish(make())
    for layer in banks.get("chip", SPACE).layers:
        assert {"columns", "_inverse_lengths"} <= vars(layer).keys()


def test_a_closed_cache_follows_no_more(shared_valkey: Valkey, namespace: str, store: BankStore) -> None:
    store.publish(make())
    cache = BankCache(BankStore(shared_valkey.settings, namespace=namespace), poll_seconds=0.001)
    cache.get("chip", SPACE)
    cache.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "BankCache-follow"]
