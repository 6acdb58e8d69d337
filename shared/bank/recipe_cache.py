"""The recipes by which a running extractor looks at pictures, followed live."""

from collections import OrderedDict
from typing import Any, Final

from typing_extensions import override

from shared.bank.errors import BankUnavailable
from shared.bank.following import Follower
from shared.bank.store import BankStore
from shared.vision.int8_graphs import Int8Graphs
from shared.vision.recipe import Recipe

MAX_RECIPES: Final = 10_000  # a few kilobytes each


class RecipeCache(Follower):
    """The recipes an extractor looks at pictures by: those of the active versions. Reads manifests, and int8 graphs."""

    holds = "recipes"

    def __init__(self, store: BankStore, **timing: Any) -> None:
        super().__init__(store, **timing)
        self._recipes: OrderedDict[str, tuple[str, Recipe, str]] = OrderedDict()
        """Product → version, recipe and feature space; least recently asked for first."""

    def published(self) -> list[Recipe]:
        """The recipes of all active versions, each once; damaged manifests are logged and left out.

        Raises:
            BankUnavailable: Redis cannot be reached.
        """
        self._preload(MAX_RECIPES)
        with self._lock:
            return list(dict.fromkeys(recipe for _, recipe, _ in self._recipes.values()))

    def recipe(self, product: str) -> tuple[Recipe, str]:
        """The recipe and the feature space of the product's active version.

        Raises:
            UnknownProduct: Redis answered: banks of other products are active, and none of this one.
            BankUnavailable: the recipe is not held, and Redis cannot be reached, has it damaged, or has none at all.
        """
        with self._lock:
            held = self._recipes.get(product)
            if held is not None:
                self._recipes.move_to_end(product)
        _, recipe, feature_space = held or self._ask((product,), lambda: self._load(product, self._active(product)))
        return recipe, feature_space

    def graphs(self, recipe: Recipe) -> Int8Graphs | None:
        """The int8 graphs of a recipe that is held, read anew; None where it is in another precision.

        Raises:
            BankUnavailable: Redis cannot be reached, or has them damaged.
        """
        if recipe.graphs_sha256 is None:
            return None
        with self._lock:
            of_recipe = [(product, held[0]) for product, held in self._recipes.items() if held[1] == recipe]
        if not of_recipe:
            raise BankUnavailable(f"no active bundle has the int8 graphs {recipe.graphs_sha256:.12} any more")
        product, version = of_recipe[-1]
        return self._ask((product, version), lambda: self._store.graphs(product, version))

    def _load(self, product: str, version: str) -> tuple[str, Recipe, str]:
        manifest = self._store.manifest(product, version)
        found = (version, manifest.recipe, manifest.feature_space)
        with self._lock:
            self._recipes[product] = found
            while len(self._recipes) > MAX_RECIPES:
                self._recipes.popitem(last=False)
        return found

    @override
    def _load_and_swap(self, product: str, version: str) -> None:
        self._load(product, version)

    @override
    def _followed(self) -> dict[str, str | None]:
        return {product: version for product, (version, _, _) in self._recipes.items()}

    @override
    def _holding(self) -> int:
        return len(self._recipes)
