"""Engines: what runs a recipe's backbone on pictures. One interface, two ways.

``openvino`` serves on CPUs and never imports TensorFlow; ``tensorflow`` is the reference and uses a GPU where there
is one. Both compute the same graph, made in one place (`shared.vision.feature_graph`).
"""

import os
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from shared.vision.errors import UnknownBackbone
from shared.vision.recipe import Recipe

EngineKind = Literal["openvino", "tensorflow"]
"""Which engine; `load_engine` explains the choice."""

Features = dict[str, NDArray[np.float32]]
"""Patch features by `Layer.name`: (N, h, w, C), pooled, not normalised."""


class Engine(Protocol):
    """A recipe's backbone, ready to run. Not thread-safe: one caller at a time."""

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


def default_cache_dir() -> Path:
    """Where converted models are kept: ``CHIPSIEVE_CACHE_DIR``, else ``~/.cache/chipsieve``."""
    return Path(os.environ.get("CHIPSIEVE_CACHE_DIR") or Path.home() / ".cache" / "chipsieve")


def load_engine(
    kind: EngineKind, recipe: Recipe, *, threads: int | None = None, cache_dir: Path | None = None
) -> Engine:
    """Make a recipe's engine.

    Args:
        kind: ``openvino`` (CPU; converts the model once, in a subprocess that needs TensorFlow, and keeps it in
            ``cache_dir``) or ``tensorflow`` (GPU, or CPU at about half the speed).
        recipe: what to compute; its precision is honoured by the engine.
        threads: CPU threads to compute with; None leaves it to the engine.
        cache_dir: where converted models are kept; None takes `default_cache_dir`.

    Raises:
        UnknownBackbone: no engine, backbone or tap of that name.
        UnsupportedPrecision: the engine cannot compute in the recipe's precision.
    """
    if kind == "openvino":
        from shared.vision.engines.openvino import OpenVinoEngine  # noqa: PLC0415 - only one engine is ever loaded

        return OpenVinoEngine(recipe, threads=threads, cache_dir=cache_dir or default_cache_dir())
    if kind == "tensorflow":
        from shared.vision.engines.tensorflow import TensorFlowEngine  # noqa: PLC0415 - imports TensorFlow

        return TensorFlowEngine(recipe, threads=threads)
    raise UnknownBackbone(f"there is no engine {kind!r}; choose openvino or tensorflow")
