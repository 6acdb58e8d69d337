"""From pictures to feature grids: the one path that serving, training, evaluation and benchmarks share."""

from collections.abc import Sequence

import numpy as np

from shared.events import FeatureGrid
from shared.vision.engine import Engine, Features
from shared.vision.features import quantise
from shared.vision.picture import Picture, resize
from shared.vision.recipe import Recipe


def extract(pictures: Sequence[Picture], recipe: Recipe, engine: Engine) -> list[tuple[FeatureGrid, ...]]:
    """The feature grids of each picture, one a distinct `Layer.name` of the recipe, in the recipe's order.

    Args:
        pictures: uint8 RGB (height, width, 3), of any sizes.
        recipe: what to extract.
        engine: an engine made for that recipe.
    """
    if not pictures:
        return []
    features: Features = {}
    for size in dict.fromkeys(layer.input_size for layer in recipe.layers):
        features |= engine.features(np.stack([resize(picture, size) for picture in pictures]), size)
    names = dict.fromkeys(layer.name for layer in recipe.layers)
    return [tuple(quantise(name, features[name][index]) for name in names) for index in range(len(pictures))]
