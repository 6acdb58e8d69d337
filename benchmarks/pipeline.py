"""The whole line through a real broker beside the bare arithmetic; what `chipsieve bench pipeline` measures."""

import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.pictures import write_chips
from benchmarks.table import Table, command
from services.cli.benchmark.pipeline import bench_pipeline
from services.cli.benchmark.rig import own_stack

COUNT = 800
CHIPS = 128


def measure() -> Table:
    """Throughput, latency at three loads, and CPU time by process of the whole line."""
    console = Console(stderr=True)
    with (
        own_stack(console, full_compiler=True) as work,
        tempfile.TemporaryDirectory(prefix="chipsieve-chips-") as folder,
    ):
        images = write_chips(Path(folder) / "chips", CHIPS)
        figures = bench_pipeline(images, None, count=COUNT, work=work, console=console)
    rows: list[dict[str, Any]] = [
        {"figure": "whole line, images/s", "value": figures.pipeline_images_per_second},
        {"figure": "bare arithmetic, images/s", "value": figures.bare_images_per_second},
        {"figure": "efficiency", "value": figures.efficiency},
        {"figure": "CPU ms an image, bare", "value": figures.bare_cpu_ms},
    ]
    rows += [{"figure": f"CPU ms an image, {name}", "value": value} for name, value in figures.cpu_ms.items()]
    rows += [
        {"figure": f"latency at {float(load):.0%}, {percentile}, ms", "value": value}
        for load, found in figures.latency_ms.items()
        for percentile, value in found.items()
    ]
    return Table(f"The line, {figures.images} chips of 320 px, {figures.engine} {figures.precision}", rows)


if __name__ == "__main__":
    command(measure)
