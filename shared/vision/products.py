"""Products of int8 vectors, by whatever multiplies fastest on this machine; all ways give the same to the last bit."""

from collections import deque
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.vision.engines.precision import best_precision

EXACT_CHANNELS: Final = 1024  # 128 x 128 x 1024 is 2^24, up to which float32 holds every whole number
# OpenVINO keeps code and memory, some 0.7 MB, for each shape that it has multiplied: there must not be many.
ROWS: Final = 64
MOST_ROWS: Final = 256
COLUMNS: Final = 256


def as_columns(vectors: NDArray[np.int8]) -> NDArray[np.float32]:
    """Vectors as `products` takes them: (M, C) int8 to (C, M') float32, M' >= M; the columns beyond M are zeros."""
    size, channels = vectors.shape
    columns = np.zeros((channels, _rounded_up(size, COLUMNS) if bf16_is_faster() else size), np.float32)
    columns[:, :size] = vectors.T
    return columns


def products(values: NDArray[np.int8], columns: NDArray[np.float32]) -> NDArray[np.float32]:
    """Every vector times every column: (P, C) times (C, M') to (P, M').

    Exact to 1,024 channels: bf16 holds every whole number of eight bits, and float32 every sum of so many products, in
    any order. Beyond them each partial sum is rounded once, in order.

    Args:
        values: (P, C) int8.
        columns: (C, M') float32, of `as_columns`.
    """
    multiply = by_openvino if bf16_is_faster() else by_blas
    found = multiply(values[:, :EXACT_CHANNELS], columns[:EXACT_CHANNELS])
    for start in range(EXACT_CHANNELS, values.shape[1], EXACT_CHANNELS):
        some = slice(start, start + EXACT_CHANNELS)
        found += multiply(values[:, some], columns[some])
    return found


@cache
def bf16_is_faster() -> bool:
    """Whether this machine's CPU multiplies faster in bf16 than in float32."""
    return best_precision("openvino") == "bf16"


def by_blas(values: NDArray[np.int8], columns: NDArray[np.float32]) -> NDArray[np.float32]:
    """(P, C) times (C, M'), in float32."""
    return values.astype(np.float32) @ columns


def by_openvino(values: NDArray[np.int8], columns: NDArray[np.float32]) -> NDArray[np.float32]:
    """(P, C) times (C, M'), in bf16, or in float32 on a CPU that has none."""
    rows, channels = values.shape
    factors = np.zeros((_rounded_up(rows, ROWS), channels), np.float32)
    factors[:rows] = values
    found = np.empty((len(factors), columns.shape[1]), np.float32)
    try:
        graph = _free.pop()
    except IndexError:
        graph = _Graph()
    for start in range(0, len(factors), MOST_ROWS):
        piece = slice(start, start + MOST_ROWS)
        graph.multiply(factors[piece], columns, found[piece])
    _free.append(graph)
    return found[:rows]


def _rounded_up(number: int, unit: int) -> int:
    return -(-number // unit) * unit


class _Graph:
    """A matrix product, float32 in, its sums in float32 out. Used by one thread at a time.

    Both factors are inputs of the graph. One with a bank as its constant is 5 to 10 % faster, but takes 5 MB and two
    threads, and a matcher holds dozens of banks.
    """

    def __init__(self) -> None:
        from threadpoolctl import threadpool_info  # noqa: PLC0415 - who multiplies by BLAS needs none of it

        from shared.vision.openvino_quietly import ov  # noqa: PLC0415 - who multiplies by BLAS does without its 40 MB

        operations = ov.opset13
        factors, columns = (operations.parameter([-1, -1], np.float32) for _ in range(2))
        model = ov.Model([operations.matmul(factors, columns, False, False)], [factors, columns])
        # As many threads as BLAS may use: who limits matrix products limits these.
        threads = [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]
        config = {
            "INFERENCE_PRECISION_HINT": "bf16",
            "INFERENCE_NUM_THREADS": max(threads, default=1),
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # all processes would compute on the same core
        }
        self._tensor = ov.Tensor
        self._request: Any = ov.Core().compile_model(model, "CPU", config).create_infer_request()

    def multiply(self, factors: NDArray[np.float32], columns: NDArray[np.float32], found: NDArray[np.float32]) -> None:
        """(P, C) times (C, M) into `found`, (P, M); all contiguous."""
        # No copies: the arrays outlive the call.
        for index, factor in enumerate((factors, columns)):
            self._request.set_input_tensor(index, self._tensor(factor, shared_memory=True))
        self._request.set_output_tensor(self._tensor(found, shared_memory=True))
        self._request.infer()


_free: Final = deque[_Graph]()
"""Graphs that no thread uses now: as many are made as there are threads that multiply at once."""
