from dataclasses import replace

import pytest

from shared.vision import recipe
from shared.vision.recipe import DEFAULT_RECIPE, Layer, Recipe

WEIGHTS, OTHER_WEIGHTS = "0" * 64, "1" * 64
LAYER, SECOND = DEFAULT_RECIPE.layers


def with_layer(layer: Layer) -> Recipe:
    return replace(DEFAULT_RECIPE, layers=(layer, SECOND))


def test_all_that_decides_what_features_are_makes_a_feature_space_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [
        replace(DEFAULT_RECIPE, backbone="efficientnet-b0"),
        replace(DEFAULT_RECIPE, precision="bf16"),
        replace(DEFAULT_RECIPE, precision="int8", graphs_sha256=WEIGHTS),
        replace(DEFAULT_RECIPE, precision="int8", graphs_sha256=OTHER_WEIGHTS),
        with_layer(replace(LAYER, tap="b7")),
        with_layer(replace(LAYER, input_size=320)),
        with_layer(replace(LAYER, pool=1)),
        replace(DEFAULT_RECIPE, layers=(LAYER,)),
        replace(DEFAULT_RECIPE, layers=(SECOND, LAYER)),
    ]
    spaces = [DEFAULT_RECIPE.feature_space(OTHER_WEIGHTS), *(one.feature_space(WEIGHTS) for one in others)]
    for constant in ("PREPROCESSING", "QUANTISATION"):
        with monkeypatch.context() as patch:
            patch.setattr(recipe, constant, "the next")
            spaces.append(DEFAULT_RECIPE.feature_space(WEIGHTS))
    spaces.append(DEFAULT_RECIPE.feature_space(WEIGHTS))
    assert len(set(spaces)) == len(spaces)


@pytest.mark.parametrize("change", [{"metric": "l2"}, {"top_fraction": 0.5}, {"weight": 0.5}])
def test_how_features_are_compared_makes_no_other_one(change: dict[str, object]) -> None:
    changed = with_layer(replace(LAYER, **change))  # type: ignore[arg-type]  # one of its fields
    assert changed.feature_space(WEIGHTS) == DEFAULT_RECIPE.feature_space(WEIGHTS)


def test_banks_that_were_published_stay_in_their_feature_space() -> None:
    assert DEFAULT_RECIPE.feature_space(WEIGHTS) == "c3b92d33dbfce54e"


def test_each_size_is_read_once_and_in_the_layers_order() -> None:
    layers = tuple(Layer(tap="b7", input_size=size) for size in (384, 256, 384))
    assert Recipe(layers=layers).input_sizes == (384, 256)
