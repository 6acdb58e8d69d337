"""Multiply-adds: what this machine's cores can do at most, and what a graph asks of them."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.table import fastest
from shared.vision.openvino_quietly import ov

SIDE = 1024  # of the matrices: large enough that nothing but multiplying counts, small enough for the caches
PRODUCTS = 8
ROUNDS = 8
CONVOLUTIONS = {"Convolution", "GroupConvolution"}


def compiled(model: Any, precision: str, threads: int) -> Any:
    """A request that runs a model on so many threads."""
    config = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    return ov.Core().compile_model(model, "CPU", config).create_infer_request()


def peaks(precisions: tuple[str, ...], threads: int) -> dict[str, float]:
    """GFLOP/s of a chain of square matrix products in OpenVINO, by precision."""
    from openvino import opset13  # noqa: PLC0415 - after `openvino_quietly`

    matrix = np.random.default_rng(0).standard_normal((SIDE, SIDE), dtype=np.float32) / SIDE
    start = opset13.parameter([SIDE, SIDE], np.float32)
    end = start
    for _ in range(PRODUCTS):
        end = opset13.matmul(end, opset13.constant(matrix), False, False)
    requests = {name: compiled(ov.Model([end], [start]), name, threads) for name in precisions}
    best = fastest({name: partial(request.infer, {0: matrix}) for name, request in requests.items()}, rounds=ROUNDS)
    return {name: PRODUCTS * 2 * SIDE**3 / seconds / 1e9 for name, seconds in best.items()}


def gflop(graph: Path, input_size: int) -> float:
    """10^9 operations (two a multiply-add) of a graph's convolutions for one picture."""
    model = ov.Core().read_model(graph)
    model.reshape([1, input_size, input_size, 3])
    total = 0
    for node in model.get_ordered_ops():
        if node.get_type_name() in CONVOLUTIONS:
            kernel = list(node.input(1).get_shape())
            taps = kernel[1:] if node.get_type_name() == "Convolution" else kernel[2:]  # per output: C_in x h x w
            total += 2 * int(np.prod(node.output(0).get_shape())) * int(np.prod(taps))
    return total / 1e9
