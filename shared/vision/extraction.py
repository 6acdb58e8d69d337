"""From pictures to feature grids: the one path that serving, training, evaluation and benchmarks share."""

from collections.abc import Mapping, Sequence

import numpy as np

from shared.events import FeatureGrid
from shared.vision.engine import Engine, Features
from shared.vision.features import quantise
from shared.vision.picture import AsStored, Picture, resize
from shared.vision.recipe import Recipe

Sized = Mapping[int, Picture]
"""One picture at each of a recipe's input sizes."""


def at_input_sizes(picture: AsStored, recipe: Recipe) -> Sized:
    """The picture as the recipe's layers want it. Thread-safe; the interpreter lock is released meanwhile."""
    return {size: resize(picture, size) for size in recipe.input_sizes}


def extract(pictures: Sequence[AsStored], recipe: Recipe, engine: Engine) -> list[tuple[FeatureGrid, ...]]:
    """The feature grids of each picture, one a distinct `Layer.name` of the recipe, in the recipe's order.

    Args:
        pictures: uint8, grey or RGB, of any sizes.
        recipe: what to extract.
        engine: an engine made for that recipe.
    """
    return extract_sized([at_input_sizes(picture, recipe) for picture in pictures], recipe, engine)


def extract_sized(pictures: Sequence[Sized], recipe: Recipe, engine: Engine) -> list[tuple[FeatureGrid, ...]]:
    """As `extract`, of pictures that `at_input_sizes` was done to."""
    if not pictures:
        return []
    features: Features = {}
    for size in recipe.input_sizes:
        features |= engine.features(np.stack([picture[size] for picture in pictures]), size)
    names = dict.fromkeys(layer.name for layer in recipe.layers)
    return [tuple(quantise(name, features[name][index]) for name in names) for index in range(len(pictures))]
