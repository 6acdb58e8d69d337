"""Matching patches with banks of several sizes: as the matcher does it, and as one OpenVINO graph would."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.arithmetic import compiled
from benchmarks.table import Table, command, fastest
from shared.vision.features import Patches
from shared.vision.memory_bank import NEIGHBOURS, LayerBank, unit
from shared.vision.openvino_quietly import ov
from shared.vision.products import bf16_is_faster, by_blas, by_openvino

PATCHES, CHANNELS, CHIPS = 64, 192, 16  # a late layer at 256 px, a full batch
BANKS = (200, 2000, 10_000)
ROUNDS = 6
OURS = f"the matcher's, products by {'OpenVINO' if bf16_is_faster() else 'BLAS'}"


def measure() -> Table:
    """Milliseconds a chip and layer of matching on one thread, by way and bank."""
    random = np.random.default_rng(0)
    patches = Patches(
        random.integers(-127, 128, (CHIPS * PATCHES, CHANNELS), dtype=np.int8),
        np.full(CHIPS * PATCHES, 0.01, np.float32),
    )
    rows = []
    with threadpool_limits(1):
        for size in BANKS:
            values = random.integers(-127, 128, (size, CHANNELS), dtype=np.int8)
            bank = LayerBank(values, np.full(size, 0.01, np.float32))
            calls: dict[str, Callable[[], object]] = {
                OURS: partial(bank.distances, patches, "cosine"),
                "products alone, BLAS": partial(by_blas, patches.values, bank.columns),
                "products alone, OpenVINO bf16": partial(by_openvino, patches.values, bank.columns),
            }
            for precision in ("f32", "bf16"):
                request = compiled(_graph(bank), precision, 1)
                calls[f"all in one graph, OpenVINO {precision}"] = partial(request.infer, {0: patches.features})
            best = fastest(calls, rounds=ROUNDS)
            ours = best[OURS]
            rows += [
                {
                    "bank": size,
                    "way": name,
                    "ms a chip and layer": round(seconds / CHIPS * 1000, 3),
                    "of ours": round(seconds / ours, 2),
                }
                for name, seconds in best.items()
            ]
    return Table(f"Matching {PATCHES} patches of {CHANNELS} channels, one thread, batches of {CHIPS}", rows)


def _graph(bank: LayerBank) -> Any:
    """Unit features times the bank, the mean over the nearest few: the same as `LayerBank.distances`."""
    from openvino import opset13  # noqa: PLC0415 - after `openvino_quietly`

    patches = opset13.parameter([CHIPS * PATCHES, CHANNELS], np.float32)
    length = opset13.sqrt(opset13.reduce_sum(opset13.multiply(patches, patches), np.array([1]), keep_dims=True))
    cosines = opset13.matmul(
        opset13.divide(patches, length), opset13.constant(unit(bank.values.astype(np.float32)).T), False, False
    )
    nearest = opset13.topk(cosines, opset13.constant(NEIGHBOURS), 1, "max", "value")
    distances = opset13.subtract(opset13.constant(np.float32(1)), nearest.output(0))
    return ov.Model([opset13.reduce_mean(opset13.relu(distances), np.array([1]), keep_dims=False)], [patches])


if __name__ == "__main__":
    command(measure)
