"""The whole line through a real broker, beside the same work in one process."""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from rich.console import Console
from threadpoolctl import threadpool_limits

from services.cli.benchmark.processes import CpuTimes, server_pids
from services.cli.benchmark.rig import TRAINING_PICTURES, Rig, bundle_of, readable, running, send
from services.cli.benchmark.warming import warm_up
from services.matcher.settings import MatcherSettings
from shared.bank.bundle import Bundle
from shared.bank.bundle_folder import read_bundle
from shared.vision.engines.loading import load_engine
from shared.vision.extraction import extract
from shared.vision.inspection import inspect
from shared.vision.picture import AsStored, decode_as_stored
from shared.vision.recipe import Precision

LOADS = (0.25, 0.5, 0.75)  # shares of the measured throughput at which the latency is taken
HALF = 0.5  # the one that stands for a line with head-room
LATENCY_SECONDS = 20.0  # of fewer, one pause of the broker makes most of the slowest verdicts of a hundred
DECODE_THREADS = 2
BARE_BATCH = 16  # larger ones are no faster: the backbone takes pictures one by one


@dataclass(frozen=True)
class PipelineFigures:
    """What `chipsieve bench pipeline` reports."""

    pipeline_images_per_second: float
    bare_images_per_second: float
    efficiency: float
    p50_ms: float
    """At half the throughput."""
    p99_ms: float
    latency_ms: dict[str, dict[str, float]]
    """Percentiles by share of the throughput."""
    bare_cpu_ms: float
    """CPU time that a picture takes in the bare arithmetic, milliseconds."""
    cpu_ms: dict[str, float]
    """CPU time that a picture takes by process, at full speed; `client` is this one, sender and reader of verdicts."""
    images: int
    engine: str
    precision: str
    cpus: int


def bench_pipeline(
    images: Path,
    bundle: Path | None,
    *,
    count: int,
    work: Path,
    console: Console,
    precision: Precision | None = None,
) -> PipelineFigures:
    """Measure the line on the stack that the environment points at.

    Args:
        images: folder of pictures.
        bundle: judges them; built from the pictures where None.
        count: pictures to send for the throughput.
        work: folder for logs and a bundle.
        console: where progress is told.
        precision: of a bundle that is built from the pictures; the machine's best where None.

    Raises:
        BenchmarkFailed: no picture can be decoded, or verdicts are missing.
    """
    pictures = readable(images)
    if bundle is None:
        console.print(f"building a bank from up to {TRAINING_PICTURES} of the pictures …")
        bundle = bundle_of(pictures, work, precision)
    loaded = read_bundle(bundle)
    console.print("bare arithmetic in this process …")
    bare, bare_cpu_ms = _bare_rate(list(islice(cycle(pictures), min(count, 600))), loaded)
    with running(work, loaded) as rig:
        producer, verdicts = rig.producer, rig.verdicts
        product = loaded.manifest.product
        warm_up(rig, product, pictures, console)
        console.print(f"throughput: {count} pictures as fast as they go …")
        cpu = CpuTimes.of({service.name: service.process.pid for service in rig.line.services} | server_pids(work))
        started = time.time()
        send(producer, product, list(islice(cycle(pictures), count)), interval=None)
        verdicts.wait_for(count)
        rate = count / (verdicts.last_arrival() - started)
        cpu_ms = {name: round(seconds / count * 1000, 3) for name, seconds in cpu.since().items()}
        latency = {}
        for load in LOADS:
            console.print(f"latency at {load:.0%} of {rate:.0f} images/s …")
            latency[str(load)] = _latency(rig, product, pictures, rate * load)
    return PipelineFigures(
        pipeline_images_per_second=round(rate, 2),
        bare_images_per_second=round(bare, 2),
        efficiency=round(rate / bare, 3),
        p50_ms=latency[str(HALF)]["p50"],
        p99_ms=latency[str(HALF)]["p99"],
        latency_ms=latency,
        bare_cpu_ms=round(bare_cpu_ms, 3),
        cpu_ms=cpu_ms,
        images=count,
        engine="openvino",
        precision=loaded.bank.recipe.precision,
        cpus=os.cpu_count() or 1,
    )


def _latency(rig: Rig, product: str, pictures: Sequence[bytes], rate: float) -> dict[str, float]:
    """Percentiles of the time from when a picture was due to its verdict, milliseconds, at so many a second."""
    rig.verdicts.clear()
    paced = list(islice(cycle(pictures), max(100, int(rate * LATENCY_SECONDS))))
    send(rig.producer, product, paced, interval=1 / rate)
    rig.verdicts.wait_for(len(paced))
    found = rig.verdicts.latencies_ms()
    return {f"p{percent}": round(float(np.percentile(found, percent)), 1) for percent in (50, 90, 99)}


def _bare_rate(pictures: Sequence[bytes], bundle: Bundle) -> tuple[float, float]:
    """Decode, features and matching in this process, nothing in between: images a second, and CPU ms an image.

    Matching takes as many threads as the matcher does: small products on more of them wait for each other, and the line
    would look the better for that.
    """
    bank = bundle.bank
    engine = load_engine("openvino", bank.recipe, graphs=bundle.graphs)
    batches = [pictures[start : start + BARE_BATCH] for start in range(0, len(pictures), BARE_BATCH)]
    with ThreadPoolExecutor(DECODE_THREADS) as decoders, threadpool_limits(MatcherSettings().matching.threads):

        def judge(batch: Sequence[bytes]) -> None:
            decoded: list[AsStored] = list(decoders.map(decode_as_stored, batch))
            inspect(extract(decoded, bank.recipe, engine), [picture.shape[:2] for picture in decoded], bank)

        for batch in batches[:2]:
            judge(batch)
        started, cpu_started = time.perf_counter(), time.process_time()
        for batch in batches:
            judge(batch)
        cpu_ms = (time.process_time() - cpu_started) / len(pictures) * 1000
        return len(pictures) / (time.perf_counter() - started), cpu_ms
