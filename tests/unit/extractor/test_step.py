from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from services.extractor.errors import ImageUnavailable, RecipeUnsupported
from services.extractor.settings import ImageSettings
from services.extractor.step import ExtractorStep
from shared.bank.errors import BankUnavailable, UnknownFeatureSpace, UnknownProduct
from shared.errors import ConfigurationError, NotReady
from shared.events import FeaturesExtracted, Uninspected, UninspectedReason
from shared.stream.errors import RecordsNotReady
from shared.stream.step import Source
from shared.vision.errors import ImageTooLarge, UndecodableImage
from shared.vision.features import patches_of
from shared.vision.recipe import Layer, Recipe
from tests.bad_pictures import encoded
from tests.events_of_chips import identity, image_captured, record_of

FINE = Recipe(layers=(Layer(tap="b4", input_size=32),))
COARSE = Recipe(layers=(Layer(tap="b12", input_size=64), Layer(tap="b14", input_size=64)))


class Recipes:
    """Stands in for Redis: recipes by product."""

    def __init__(self) -> None:
        self.by_product = {"soic-8": (FINE, "fine"), "qfp-32": (COARSE, "coarse")}
        self.away = False

    def published(self) -> list[Recipe]:
        return [recipe for recipe, _ in self.by_product.values()]

    def recipe(self, product: str) -> tuple[Recipe, str]:
        if self.away:
            raise BankUnavailable("Redis is away")
        if product not in self.by_product:
            raise UnknownProduct(product)
        return self.by_product[product]

    def not_ready_because(self) -> str | None:
        return "Redis is away" if self.away else None

    def close(self) -> None:
        pass


class MeanColourEngine:
    """Features that can be told by looking: one patch, the picture's mean colour."""

    description = "arithmetic 1.0.0 f32 on paper"

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self.batches: list[int] = []

    def features(self, pictures: NDArray[np.uint8], input_size: int) -> dict[str, NDArray[np.float32]]:
        assert pictures.shape[1:] == (input_size, input_size, 3)
        self.batches.append(len(pictures))
        means = pictures.astype(np.float32).mean(axis=(1, 2), keepdims=True)
        return {layer.name: means for layer in self._recipe.layers if layer.input_size == input_size}


class Engines:
    def __init__(self) -> None:
        self.by_space = {"fine": MeanColourEngine(FINE), "coarse": MeanColourEngine(COARSE)}
        self.warm: list[Recipe] = []
        self.unsupported: dict[str, str] = {}
        self.damaged: set[str] = set()

    def engine(self, recipe: Recipe, feature_space: str) -> MeanColourEngine:
        if feature_space in self.unsupported:
            raise RecipeUnsupported(self.unsupported[feature_space])
        if feature_space in self.damaged:
            raise BankUnavailable("its int8 graphs are damaged")
        if feature_space not in self.by_space:
            raise UnknownFeatureSpace(feature_space)
        return self.by_space[feature_space]

    def warm_up(self, recipe: Recipe) -> None:
        self.engine(recipe, "fine" if recipe == FINE else "coarse")
        self.warm.append(recipe)


@pytest.fixture
def recipes() -> Recipes:
    return Recipes()


@pytest.fixture
def engines() -> Engines:
    return Engines()


@pytest.fixture
def step(recipes: Recipes, engines: Engines) -> Iterator[ExtractorStep]:
    step = ExtractorStep(recipes, engines, ImageSettings())
    yield step
    step.close()


def picture(colour: tuple[int, int, int], width: int = 40, height: int = 30) -> bytes:
    return encoded(Image.new("RGB", (width, height), colour), "PNG")


def test_a_picture_becomes_the_features_of_its_products_recipe(step: ExtractorStep) -> None:
    record = record_of(image_captured(picture((200, 100, 50))), offset=7)
    ((features,),) = step.process([record])
    assert isinstance(features, FeaturesExtracted)
    assert (features.event_id, features.feature_space, features.uninspected) == ("event-0", "fine", None)
    assert features.engine == MeanColourEngine.description
    assert (features.width, features.height) == (40, 30)
    assert (features.image.partition, features.image.offset, features.image.sha256) == (0, 7, record.event.sha256)
    (grid,) = features.grids
    assert grid.layer == FINE.layers[0].name
    np.testing.assert_allclose(patches_of(grid).features.ravel(), [200, 100, 50], rtol=0.01)


def test_a_batch_is_looked_at_by_recipe_and_answered_in_order(step: ExtractorStep, engines: Engines) -> None:
    products = ["soic-8", "qfp-32", "soic-8", "qfp-32", "qfp-32"]
    records = [record_of(image_captured(picture((n, n, n)), n, product=product)) for n, product in enumerate(products)]
    outcomes = step.process(records)
    assert [outcome[0].event_id for outcome in outcomes] == [f"event-{n}" for n in range(5)]
    assert [outcome[0].feature_space for outcome in outcomes] == ["fine", "coarse", "fine", "coarse", "coarse"]
    assert (engines.by_space["fine"].batches, engines.by_space["coarse"].batches) == ([2], [3])


def test_bad_chips_do_not_disturb_their_neighbours(step: ExtractorStep) -> None:
    records = [
        record_of(image_captured(picture((1, 2, 3)), 0)),
        record_of(image_captured(b"no picture", 1)),
        record_of(image_captured(picture((1, 2, 3)), 2, product="unheard-of")),
        record_of(image_captured(picture((1, 2, 3)), 3)),
    ]
    first, undecodable, unknown, last = step.process(records)
    assert isinstance(undecodable, UndecodableImage)
    assert isinstance(unknown, UnknownProduct)
    assert first[0].grids == last[0].grids


def test_pictures_beyond_the_limits_that_are_set_are_refused(
    recipes: Recipes, engines: Engines, tmp_path: Path
) -> None:
    (tmp_path / "chip.png").write_bytes(picture((1, 2, 3)))
    by_reference = replace(
        image_captured(picture((1, 2, 3)), 1), image_bytes=None, image_uri=(tmp_path / "chip.png").as_uri()
    )
    limits = ImageSettings(root=tmp_path, max_pixels=40 * 30 - 1, max_referenced_bytes=20)
    step = ExtractorStep(recipes, engines, limits)
    too_many_pixels, too_many_bytes = step.process(
        [record_of(image_captured(picture((1, 2, 3)), 0)), record_of(by_reference)]
    )
    step.close()
    assert isinstance(too_many_pixels, ImageTooLarge)
    assert isinstance(too_many_bytes, ImageUnavailable)
    assert "larger than 20 bytes" in str(too_many_bytes)


def test_without_redis_nothing_is_given_up(step: ExtractorStep, recipes: Recipes) -> None:
    recipes.away = True
    with pytest.raises(NotReady):
        step.process([record_of(image_captured(picture((1, 2, 3))))])
    assert step.not_ready_because() == "Redis is away"


def test_the_published_recipes_are_warm_before_the_first_chip(step: ExtractorStep, engines: Engines) -> None:
    step.open()
    assert engines.warm == [FINE, COARSE]


def test_a_chip_that_cannot_be_looked_at_travels_on_with_the_reason(step: ExtractorStep) -> None:
    cause = Uninspected(reason=UninspectedReason.MALFORMED_RECORD, detail="garbage", stage="extractor")
    (features,) = step.uninspected(identity(3), Source("images", 2, 9), cause, None)
    assert (features.event_id, features.uninspected, features.grids) == ("event-3", cause, ())
    assert (features.image.topic, features.image.offset, features.image.sha256) == ("images", 9, None)


def test_a_product_that_cannot_be_looked_at_here_makes_its_chips_wait_and_no_others(
    step: ExtractorStep, engines: Engines
) -> None:
    engines.unsupported = {"coarse": "TensorFlow does not compute features in int8; choose f32 or bf16"}
    records = [
        record_of(image_captured(picture((1, 2, 3)), n, product=product), offset=n)
        for n, product in enumerate(["soic-8", "qfp-32"])
    ]
    with pytest.raises(RecordsNotReady, match=r"pictures of qfp-32 cannot be looked at here: .*choose f32") as raised:
        step.process(records)
    assert raised.value.reasons.keys() == {records[1].source}
    ((features,),) = step.process(records[:1])
    assert features.uninspected is None


def test_a_recipe_that_cannot_be_computed_here_does_not_keep_the_stage_from_starting(
    step: ExtractorStep, engines: Engines
) -> None:
    engines.unsupported = {"fine": "this CPU has neither VNNI nor AMX"}
    step.open()
    assert engines.warm == [COARSE]


def test_a_recipe_whose_graphs_are_damaged_does_not_keep_the_stage_from_starting(
    step: ExtractorStep, engines: Engines
) -> None:
    engines.damaged = {"fine"}
    step.open()
    assert engines.warm == [COARSE]


def test_an_extractor_that_can_compute_none_of_the_recipes_does_not_start(
    step: ExtractorStep, engines: Engines
) -> None:
    engines.unsupported = {"fine": "this CPU does not compute in bf16", "coarse": "this CPU does not compute in bf16"}
    with pytest.raises(ConfigurationError, match="this CPU does not compute in bf16"):
        step.open()


def test_a_bundle_of_another_feature_space_makes_its_chips_uninspected_for_that_reason(
    step: ExtractorStep, engines: Engines
) -> None:
    del engines.by_space["coarse"]
    records = [
        record_of(image_captured(picture((1, 2, 3)), n, product=product), offset=n)
        for n, product in enumerate(["soic-8", "qfp-32"])
    ]
    (features,), unknown = step.process(records)
    assert features.uninspected is None
    assert isinstance(unknown, UnknownFeatureSpace)
