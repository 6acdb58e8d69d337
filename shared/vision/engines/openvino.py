"""The serving engine for CPUs: OpenVINO, compiled from the same graph, without TensorFlow in the process."""

import importlib.metadata
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.vision.engine import Features, output_names
from shared.vision.engines.conversion import converted_graphs
from shared.vision.engines.precision import cpu_multiplies_int8
from shared.vision.errors import UnsupportedPrecision
from shared.vision.int8_graphs import Int8Graphs
from shared.vision.openvino_quietly import ov
from shared.vision.recipe import Recipe

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


class OpenVinoEngine:
    """Runs a recipe in OpenVINO. As `shared.vision.engine.Engine`.

    Pictures of a batch run one by one, as many at once as there are threads. Measured on two cores that beats one
    large batch by half, since a picture's activations stay in cache, and features cannot depend on the batch at all.
    Twice as many are handed over, so that a thread that is done goes on while another one is held up.
    """

    def __init__(self, recipe: Recipe, *, threads: int | None, cache_dir: Path, graphs: Int8Graphs | None) -> None:
        if (recipe.precision == "int8") != (graphs is not None):
            raise UnsupportedPrecision(
                f"a recipe in {recipe.precision} {'with' if graphs else 'without'} int8 graphs: those are made from "
                "the product's pictures, by `chipsieve train --precision int8`, and belong to its bundle alone"
            )
        if graphs and not cpu_multiplies_int8():  # mean cosine to what VNNI computes: .989, where AMX has .9998
            raise UnsupportedPrecision(
                "this CPU has neither VNNI nor AMX, and int8 features would come out wrong: run the extractor on one "
                "that has, or train the product with --precision auto"
            )
        core = ov.Core()
        if recipe.precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise UnsupportedPrecision(  # OpenVINO would compute in f32 instead, and not say so
                "this CPU does not compute in bf16, and the recipe asks for it: run the extractor on one with "
                "AVX-512 or AMX, or train the product with --precision f32"
            )
        threads = threads or usable_cpus()
        self.batch_sizes = (threads,)
        version = importlib.metadata.version("openvino")
        device = core.get_property("CPU", "FULL_DEVICE_NAME")
        self.description = f"openvino {version} {recipe.precision} on {device}"
        models = (
            {size: core.read_model(graph.topology, graph.weights) for size, graph in graphs.by_size.items()}
            if graphs
            else {size: core.read_model(path) for size, path in converted_graphs(recipe, cache_dir).items()}
        )
        # What is not whole numbers in an int8 graph is float32.
        floats = "f32" if graphs else recipe.precision
        self._graphs = {
            size: _Graph(core, model, floats, threads, output_names(recipe, size)) for size, model in models.items()
        }

    def features(self, pictures: NDArray[np.uint8], input_size: int) -> Features:
        """As `shared.vision.engine.Engine.features`."""
        return self._graphs[input_size].run(pictures)


class _Graph:
    """A compiled graph of batch size 1, and two requests a thread: one that runs, and one that is next."""

    def __init__(self, core: Any, model: Any, precision: str, threads: int, names: dict[str, str]) -> None:
        model.reshape([1, *model.input(0).partial_shape[1:]])
        config = {
            # By default a CPU with AMX would compute in bf16, and features would depend on the machine.
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": threads,
            # Each process would pin its threads to the same first cores, and two extractors of a node share these.
            "ENABLE_CPU_PINNING": False,
        }
        compiled = core.compile_model(model, "CPU", config)
        at_once = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self._requests = [compiled.create_infer_request() for _ in range(2 * at_once)]
        # OpenVINO orders outputs as it likes: they are looked up by name.
        self._outputs = {layer: compiled.output(output) for layer, output in names.items()}

    def run(self, pictures: NDArray[np.uint8]) -> Features:
        pictures = np.ascontiguousarray(pictures)
        found: Features = {
            layer: np.empty((len(pictures), *output.shape[1:]), np.float32) for layer, output in self._outputs.items()
        }
        try:
            for index in range(len(pictures)):
                request: Any = self._requests[index % len(self._requests)]
                request.wait()
                # OpenVINO reads the pixels and writes the features where they lie: no copy on this thread.
                request.set_input_tensor(ov.Tensor(pictures[index : index + 1], shared_memory=True))
                for layer, output in self._outputs.items():
                    request.set_tensor(output, ov.Tensor(found[layer][index : index + 1], shared_memory=True))
                request.start_async()
        finally:  # whatever happened: no request may outlive the arrays
            for request in self._requests:
                request.wait()
        return found


def usable_cpus() -> int:
    """CPUs that this process may use: those it may run on, or fewer where its container has a quota (cgroup v2)."""
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, period = CPU_QUOTA.read_text().split()
        return max(1, min(allowed, int(quota) // int(period)))
    except (OSError, ValueError):  # no such file, or "max": no quota
        return allowed
