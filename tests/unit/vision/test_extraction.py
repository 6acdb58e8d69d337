import numpy as np
from numpy.typing import NDArray

from shared.vision.engine import Features
from shared.vision.extraction import extract
from shared.vision.features import patches_of
from shared.vision.picture import resize
from shared.vision.recipe import Layer, Recipe
from tests.unit.vision.rendered_pictures import chip, ramp

RECIPE = Recipe(
    layers=(
        Layer(tap="late", input_size=32),
        Layer(tap="early", input_size=64, metric="cosine"),
        Layer(tap="early", input_size=64, metric="l2"),
    )
)


class MeanColour:
    """An engine whose features are a picture's mean colour, so that one sees what it was given."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, ...]] = []

    def features(self, pictures: NDArray[np.uint8], input_size: int) -> Features:
        self.calls.append(pictures.shape)
        colours = pictures.mean(axis=(1, 2), dtype=np.float32)[:, None, None, :]
        return {layer.name: colours for layer in RECIPE.layers if layer.input_size == input_size}


def test_each_picture_gets_one_grid_a_distinct_layer_in_the_recipes_order() -> None:
    grids = extract([ramp(64), chip(64)], RECIPE, MeanColour())
    assert [[grid.layer for grid in each] for each in grids] == [["late@32/3", "early@64/3"]] * 2


def test_pictures_of_any_size_meet_in_one_batch_an_input_size() -> None:
    engine = MeanColour()
    extract([ramp(100, 50), chip(64), ramp(20)], RECIPE, engine)
    assert engine.calls == [(3, 32, 32, 3), (3, 64, 64, 3)]


def test_each_picture_gets_its_own_features() -> None:
    pictures = [ramp(80), chip(80)]
    for picture, grids in zip(pictures, extract(pictures, RECIPE, MeanColour()), strict=True):
        expected = resize(picture, 32).mean(axis=(0, 1))
        assert np.abs(patches_of(grids[0]).features[0, 0] - expected).max() <= 1


def test_no_pictures_give_no_grids_and_ask_no_engine() -> None:
    engine = MeanColour()
    assert extract([], RECIPE, engine) == []
    assert engine.calls == []
