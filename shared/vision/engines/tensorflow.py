"""The reference engine: TensorFlow, on a GPU where there is one."""

from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.vision.engine import Features, output_names
from shared.vision.errors import UnsupportedPrecision
from shared.vision.feature_graph import DTYPES, build_feature_graph
from shared.vision.recipe import Recipe
from shared.vision.tensorflow_quietly import tf

# Kernels are chosen (and on a GPU tuned) once a batch size: batches are padded up to a few, not run as they come.
BUCKETS = (1, 2, 4, 8, 16, 32)


class TensorFlowEngine:
    """Runs a recipe in TensorFlow. As `shared.vision.engine.Engine`."""

    batch_sizes = BUCKETS

    def __init__(self, recipe: Recipe, *, threads: int | None = None) -> None:
        if recipe.precision not in DTYPES:
            raise UnsupportedPrecision(
                f"TensorFlow does not compute features in {recipe.precision}; choose {' or '.join(DTYPES)}"
            )
        if threads is not None:
            with suppress(RuntimeError):  # already running: a process's first engine decides
                tf.config.threading.set_intra_op_parallelism_threads(threads)
                tf.config.threading.set_inter_op_parallelism_threads(1)
        # TF32 would round float32 products to 10 bits on a GPU, and f32 features must be the same everywhere.
        tf.config.experimental.enable_tensor_float_32_execution(False)
        self.description = f"tensorflow {tf.__version__} {recipe.precision} on {_device()}"
        self._outputs: dict[int, dict[str, str]] = {}
        self._graphs: dict[int, Any] = {}
        for size in recipe.input_sizes:
            self._outputs[size] = output_names(recipe, size)
            self._graphs[size] = build_feature_graph(recipe, size, DTYPES[recipe.precision])

    def features(self, pictures: NDArray[np.uint8], input_size: int) -> Features:
        """As `shared.vision.engine.Engine.features`."""
        largest = BUCKETS[-1]
        parts = [self._run(pictures[at : at + largest], input_size) for at in range(0, len(pictures), largest)]
        return {
            layer: np.concatenate([part[output] for part in parts])
            for layer, output in self._outputs[input_size].items()
        }

    def _run(self, pictures: NDArray[np.uint8], input_size: int) -> dict[str, NDArray[np.float32]]:
        count = len(pictures)
        bucket = next(size for size in BUCKETS if size >= count)
        padded = np.zeros((bucket, *pictures.shape[1:]), np.uint8)
        padded[:count] = pictures
        found = self._graphs[input_size](tf.constant(padded))
        return {name: tensor.numpy()[:count] for name, tensor in found.items()}


def _device() -> str:
    """Where TensorFlow puts its work: the first GPU where there is one."""
    for gpu in tf.config.list_physical_devices("GPU"):
        return str(tf.config.experimental.get_device_details(gpu).get("device_name", "GPU"))
    return "CPU"
