"""The engines by name. One interface (`shared.vision.engine.Engine`), two ways.

``openvino`` serves on CPUs and never imports TensorFlow; ``tensorflow`` is the reference and uses a GPU where there
is one. Both compute the same graph, made in one place (`shared.vision.feature_graph`).
"""

import logging
from pathlib import Path

from shared.vision.cache import default_cache_dir
from shared.vision.engine import Engine, EngineKind
from shared.vision.errors import UnknownBackbone
from shared.vision.int8_graphs import Int8Graphs
from shared.vision.keras_applications import is_application, is_random
from shared.vision.recipe import Recipe


def load_engine(
    kind: EngineKind,
    recipe: Recipe,
    *,
    threads: int | None = None,
    cache_dir: Path | None = None,
    graphs: Int8Graphs | None = None,
) -> Engine:
    """Make a recipe's engine.

    Args:
        kind: ``openvino`` (CPU; converts the model once, in a subprocess that needs TensorFlow, and keeps it in
            ``cache_dir``) or ``tensorflow`` (GPU, or CPU at about half the speed).
        recipe: what to compute; its precision is honoured by the engine.
        threads: CPU threads to compute with; None leaves it to the engine.
        cache_dir: where converted models are kept; None takes `default_cache_dir`.
        graphs: of a recipe in int8, from its bundle.

    Raises:
        UnknownBackbone: no engine, backbone or tap of that name.
        UnsupportedPrecision: the engine cannot compute in the recipe's precision.
    """
    if is_application(recipe.backbone) and is_random(recipe.backbone):
        logging.getLogger(__name__).warning(
            "%s has random weights, which were trained on nothing: its features are for experiments", recipe.backbone
        )
    if kind == "openvino":
        from shared.vision.engines.openvino import OpenVinoEngine  # noqa: PLC0415 - only one engine is ever loaded

        return OpenVinoEngine(recipe, threads=threads, cache_dir=cache_dir or default_cache_dir(), graphs=graphs)
    if kind == "tensorflow":
        from shared.vision.engines.tensorflow import TensorFlowEngine  # noqa: PLC0415 - imports TensorFlow

        return TensorFlowEngine(recipe, threads=threads)
    raise UnknownBackbone(f"there is no engine {kind!r}; choose openvino or tensorflow")
