"""What an engine is: a recipe's backbone that runs on pictures. `shared.vision.engines` has them."""

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from shared.vision.recipe import Recipe

EngineKind = Literal["openvino", "tensorflow"]
"""Which engine; `shared.vision.engines.loading` explains the choice."""

Features = dict[str, NDArray[np.float32]]
"""Patch features by `Layer.name`: (N, h, w, C), pooled, not normalised."""


class Engine(Protocol):
    """A recipe's backbone, ready to run. Not thread-safe: one caller at a time."""

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Run once each before the first chip, batches of these sizes leave nothing to compile or tune later."""

    @property
    def description(self) -> str:
        """Its `EngineKind`, version, precision and device: all that may move features by the noise of float32 sums."""

    def features(self, pictures: NDArray[np.uint8], input_size: int) -> Features:
        """The features of all the recipe's layers of one input size.

        A picture's features do not depend on the pictures beside it, beyond the noise of float32 sums.

        Args:
            pictures: uint8 RGB (N, input_size, input_size, 3), N ≥ 1.
            input_size: one of the recipe's, pixels.
        """


def output_names(recipe: Recipe, input_size: int) -> dict[str, str]:
    """What the graph of one input size calls its outputs, by `Layer.name`; engines' own naming rules are narrower."""
    return {layer.name: f"{layer.tap}_pool{layer.pool}" for layer in recipe.layers if layer.input_size == input_size}
