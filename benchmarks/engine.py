"""Images a second of each engine, precision and batch, beside this machine's own matrix products."""

from dataclasses import replace
from functools import partial

import numpy as np

from benchmarks.arithmetic import gflop, peaks
from benchmarks.table import Table, command, fastest
from shared.vision.cache import default_cache_dir
from shared.vision.engine import EngineKind
from shared.vision.engines.conversion import converted_graphs
from shared.vision.engines.loading import load_engine
from shared.vision.engines.openvino import usable_cpus
from shared.vision.recipe import DEFAULT_RECIPE, Precision

SIZE = 256
BATCHES = (1, 4, 16)
ROUNDS = 6
ENGINES: tuple[tuple[EngineKind, Precision], ...] = (("openvino", "f32"), ("openvino", "bf16"), ("tensorflow", "f32"))


def measure() -> Table:
    """Images a second of each engine, precision and batch."""
    threads = usable_cpus()
    work = gflop(converted_graphs(DEFAULT_RECIPE, default_cache_dir())[SIZE], SIZE)
    peak = peaks(("f32", "bf16"), threads)
    pictures = np.random.default_rng(0).integers(0, 255, (max(BATCHES), SIZE, SIZE, 3), np.uint8)
    engines = {kind: load_engine(kind[0], replace(DEFAULT_RECIPE, precision=kind[1])) for kind in ENGINES}
    rows = []
    for batch in BATCHES:
        calls = {
            f"{kind} {precision}": partial(engine.features, pictures[:batch], SIZE)
            for (kind, precision), engine in engines.items()
        }
        for name, seconds in fastest(calls, rounds=ROUNDS).items():
            precision = name.split()[1]
            reached = work * batch / seconds
            rows.append(
                {
                    "engine": name,
                    "batch": batch,
                    "images/s": round(batch / seconds, 1),
                    "GFLOP/s": round(reached, 1),
                    "of the peak": round(reached / peak[precision], 2),
                }
            )
    return Table(
        f"Engines, EfficientNet-Lite0 to b14 at {SIZE} px, {threads} threads",
        rows,
        [
            f"A picture takes {work:.3f} GFLOP. Matrix products of 1024 x 1024 in OpenVINO on as many threads: "
            + ", ".join(f"{name} {value:.0f} GFLOP/s" for name, value in peak.items())
            + "."
        ],
    )


if __name__ == "__main__":
    command(measure)
