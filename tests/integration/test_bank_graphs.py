import pytest

from shared.bank.errors import BankUnavailable
from shared.bank.recipe_cache import RecipeCache
from shared.bank.store import BankStore
from tests.banks import make, make_graphs
from tests.integration.bank_caches import NEVER, Clock
from tests.integration.valkey import Valkey


def test_int8_graphs_are_had_without_the_bank(store: BankStore) -> None:
    bundle, in_float = make(graphs=make_graphs(b"7" * 3_000_000)), make(minute=1)
    for each in (bundle, in_float):
        store.publish(each)
    assert store.graphs("chip", bundle.manifest.version) == bundle.graphs
    assert store.bundle("chip", bundle.manifest.version).graphs == bundle.graphs
    assert store.graphs("chip", in_float.manifest.version) is None


def test_an_extractor_gets_the_int8_graphs_of_the_active_bundle(store: BankStore, recipes: RecipeCache) -> None:
    bundle = make(graphs=make_graphs())
    store.publish(bundle)
    recipe, space = recipes.recipe("chip")
    assert (recipe.precision, space) == ("int8", bundle.manifest.feature_space)
    assert recipes.graphs(recipe) == bundle.graphs
    store.publish(make(minute=1))
    recipes.refresh()
    in_float, _ = recipes.recipe("chip")
    assert recipes.graphs(in_float) is None
    with pytest.raises(BankUnavailable, match="no active bundle has the int8 graphs"):
        recipes.graphs(recipe)


def test_an_extractor_that_starts_as_redis_comes_back_gets_the_int8_graphs_at_once(
    valkey: Valkey, clock: Clock
) -> None:
    bundle = make(graphs=make_graphs())
    with RecipeCache(store := BankStore(valkey.settings), poll_seconds=NEVER, clock=clock) as recipes:
        store.publish(bundle)
        valkey.stop()
        with pytest.raises(BankUnavailable):
            recipes.published()
        recipes.refresh()  # in the background
        valkey.start()
        (recipe,) = recipes.published()
        assert recipes.graphs(recipe) == bundle.graphs
