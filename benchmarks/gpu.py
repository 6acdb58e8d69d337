"""The TensorFlow engine on a GPU: images a second by batch and precision, beside the GPU's own matrix products.

Runs anywhere: without a GPU it measures the CPU, and says so.
"""

import time
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from benchmarks.arithmetic import gflop
from benchmarks.table import Table, command
from shared.vision.cache import default_cache_dir
from shared.vision.engines.conversion import converted_graphs
from shared.vision.engines.tensorflow import BUCKETS, TensorFlowEngine
from shared.vision.recipe import DEFAULT_RECIPE, Precision
from shared.vision.tensorflow_quietly import tf

SIZE = 256
PRECISIONS: dict[Precision, Any] = {"f32": tf.float32, "bf16": tf.bfloat16}
SECONDS = 1.0  # a measurement; the first run of each batch compiles, and is not counted


def measure() -> Table:
    """Images a second of the TensorFlow engine by batch and precision."""
    gpus = tf.config.list_physical_devices("GPU")
    device = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU") if gpus else "CPU, no GPU"
    # Most CPUs emulate bf16 in TensorFlow, slowly.
    precisions: tuple[Precision, ...] = ("f32", "bf16") if gpus else ("f32",)
    work = gflop(converted_graphs(DEFAULT_RECIPE, default_cache_dir())[SIZE], SIZE)
    pictures = np.random.default_rng(0).integers(0, 255, (max(BUCKETS), SIZE, SIZE, 3), np.uint8)
    rows = []
    for precision in precisions:
        peak = _peak(PRECISIONS[precision], side=8192 if gpus else 1024)
        engine = TensorFlowEngine(replace(DEFAULT_RECIPE, precision=precision))
        for batch in BUCKETS:
            rate = batch * _rate(partial(engine.features, pictures[:batch], SIZE))
            rows.append(
                {
                    "precision": precision,
                    "batch": batch,
                    "images/s": round(rate, 1),
                    "GFLOP/s": round(rate * work, 1),
                    "of the peak": round(rate * work / peak, 3),
                }
            )
    notes = ["Copies to and from the device count. The peak is that of square matrix products, here and now."]
    return Table(f"TensorFlow engine, {device}", rows, notes)


def _peak(dtype: Any, side: int) -> float:
    """GFLOP/s of a matrix product."""
    matrix = tf.cast(tf.random.normal((side, side)), dtype)
    multiply = tf.function(lambda: tf.reduce_sum(tf.matmul(matrix, matrix)))
    return _rate(lambda: multiply().numpy()) * 2 * side**3 / 1e9


def _rate(call: Any) -> float:
    """Calls a second."""
    call()
    started, count = time.perf_counter(), 0
    while (spent := time.perf_counter() - started) < SECONDS or count == 0:
        call()
        count += 1
    return count / spent


if __name__ == "__main__":
    command(measure)
