"""The whole line through a real broker, beside the same work in one process."""

import os
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from rich.console import Console

from services.cli.benchmark.rig import TRAINING_PICTURES, bundle_of, readable, running, send
from services.trainer.pictures import find_pictures
from shared.bank.bundle import read_bundle
from shared.bank.store import BankStore
from shared.settings import Settings, StreamSettings
from shared.vision.bank import Bank
from shared.vision.engines.loading import load_engine
from shared.vision.extraction import extract
from shared.vision.inspection import inspect
from shared.vision.picture import Picture, decode
from shared.vision.recipe import Precision

LOAD = 0.5  # share of the measured throughput at which the latency is taken: a line with head-room
LATENCY_SECONDS = 12.0
DECODE_THREADS = 2


@dataclass(frozen=True)
class PipelineFigures:
    """What `chipsieve bench pipeline` reports."""

    pipeline_images_per_second: float
    bare_images_per_second: float
    efficiency: float
    p50_ms: float
    p99_ms: float
    latency_load: float
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
    pictures = readable([file.read() for file in find_pictures(images)])
    if bundle is None:
        console.print(f"building a bank from up to {TRAINING_PICTURES} of the pictures …")
        bundle = bundle_of(pictures, work, precision)
    loaded = read_bundle(bundle)
    console.print("bare arithmetic in this process …")
    bare = _bare_rate(list(islice(cycle(pictures), min(count, 600))), loaded.bank)
    settings = Settings(topic_prefix=f"bench-{uuid.uuid4().hex[:8]}-")
    with running(settings, work) as rig:
        producer, verdicts = rig.producer, rig.verdicts
        BankStore(settings.redis).publish(loaded)
        product = loaded.manifest.product
        console.print("warming the services up …")
        send(producer, product, pictures[:64], interval=None)
        verdicts.wait_for(min(64, len(pictures)))
        console.print(f"throughput: {count} pictures as fast as they go …")
        verdicts.clear()
        started = time.time()
        send(producer, product, list(islice(cycle(pictures), count)), interval=None)
        verdicts.wait_for(count)
        rate = count / (verdicts.last_arrival() - started)
        console.print(f"latency at {LOAD:.0%} of {rate:.0f} images/s …")
        verdicts.clear()
        paced = list(islice(cycle(pictures), max(100, int(rate * LOAD * LATENCY_SECONDS))))
        send(producer, product, paced, interval=1 / (rate * LOAD))
        verdicts.wait_for(len(paced))
        latencies = verdicts.latencies_ms()
    return PipelineFigures(
        pipeline_images_per_second=round(rate, 2),
        bare_images_per_second=round(bare, 2),
        efficiency=round(rate / bare, 3),
        p50_ms=round(float(np.percentile(latencies, 50)), 1),
        p99_ms=round(float(np.percentile(latencies, 99)), 1),
        latency_load=LOAD,
        images=count,
        engine="openvino",
        precision=loaded.bank.recipe.precision,
        cpus=os.cpu_count() or 1,
    )


def _bare_rate(pictures: Sequence[bytes], bank: Bank) -> float:
    """Images a second of decode, features and matching in this process, nothing in between."""
    engine = load_engine("openvino", bank.recipe)
    batch_size = StreamSettings().batch_size
    batches = [pictures[start : start + batch_size] for start in range(0, len(pictures), batch_size)]
    with ThreadPoolExecutor(DECODE_THREADS) as decoders:

        def judge(batch: Sequence[bytes]) -> None:
            decoded: list[Picture] = list(decoders.map(decode, batch))
            inspect(extract(decoded, bank.recipe, engine), [picture.shape[:2] for picture in decoded], bank)

        for batch in batches[:2]:
            judge(batch)
        started = time.perf_counter()
        for batch in batches:
            judge(batch)
        return len(pictures) / (time.perf_counter() - started)
