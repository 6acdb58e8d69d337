"""Twice as many pictures as the line can inspect, for minutes: memory stays flat, and what is inspected is on time."""

import threading
import time
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from statistics import median

import psutil
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from services.cli.benchmark.rig import Rig, bundle_of, on_time, readable, running, send, throughput
from services.cli.line import RunningService
from services.trainer.pictures import find_pictures
from shared.bank.bundle import read_bundle
from shared.events import ChipInspected
from shared.settings import Settings

SAMPLE_SECONDS = 1.0
MEBIBYTE = 2**20


@dataclass(frozen=True)
class Memory:
    """Resident memory of one process in MiB."""

    first: float
    """Median of the second tenth of the time; the first belongs to buffers that fill."""
    last: float
    """Median of the last tenth."""
    peak: float


@dataclass(frozen=True)
class SoakFigures:
    """What `chipsieve bench soak` reports."""

    inspect_images_per_second: float
    load_images_per_second: float
    seconds: float
    chips: int
    verdicts: int
    on_time: int
    """Inspected and readable before their deadline."""
    on_time_images_per_second: float
    in_vain: int
    """Features were extracted, and still the verdict was late."""
    memory_mib: dict[str, Memory]
    rebalances: int
    """Partitions that moved during the soak, times."""


def bench_soak(
    images: Path, bundle: Path | None, *, load: float, seconds: float, deadline_ms: int, work: Path, console: Console
) -> SoakFigures:
    """Overload the line and watch its processes.

    Args:
        images: folder of pictures.
        bundle: judges them; built from the pictures where None.
        load: what is sent, as a multiple of the line's throughput.
        seconds: for how long.
        deadline_ms: a chip's verdict is due this long after its capture.
        work: folder for logs and a bundle.
        console: where progress is told.

    Raises:
        BenchmarkFailed: no picture can be decoded, or verdicts are missing.
    """
    pictures = readable([file.read() for file in find_pictures(images)])
    loaded = read_bundle(bundle or bundle_of(pictures, work))
    settings = Settings(topic_prefix=f"bench-{uuid.uuid4().hex[:8]}-")
    with running(settings, work, loaded) as rig:
        rate = throughput(rig, loaded.manifest.product, pictures, console)
        console.print(f"{load:g} times {rate:.0f} images/s for {seconds:.0f} s …")
        before = _rebalances(rig)
        sent, samples = _overload(
            rig, loaded.manifest.product, pictures, rate=rate * load, seconds=seconds, deadline_ms=deadline_ms
        )
        rig.verdicts.wait_for(sent)
        in_time = sum(on_time(rig.verdicts, event_id) for event_id in rig.verdicts.arrivals)
        shed = sum(_shed_at_once(verdict) for verdict in rig.verdicts.by_event.values())
        return SoakFigures(
            inspect_images_per_second=round(rate, 1),
            load_images_per_second=round(rate * load, 1),
            seconds=seconds,
            chips=sent,
            verdicts=len(rig.verdicts.arrivals),
            on_time=in_time,
            on_time_images_per_second=round(in_time / seconds, 1),
            in_vain=sent - in_time - shed,
            memory_mib={name: _summary(values) for name, values in samples.items()},
            rebalances=_rebalances(rig) - before,
        )


def _overload(
    rig: Rig, product: str, pictures: Sequence[bytes], *, rate: float, seconds: float, deadline_ms: int
) -> tuple[int, dict[str, list[float]]]:
    """Pictures sent, and the memory of each service, sampled meanwhile."""
    end = time.monotonic() + seconds
    sent = 0

    def until_end() -> Iterator[bytes]:
        nonlocal sent
        for picture in cycle(pictures):
            if time.monotonic() >= end:
                return
            sent += 1
            yield picture

    sender = threading.Thread(
        target=lambda: send(rig.producer, product, until_end(), interval=1 / rate, deadline_ms=deadline_ms)
    )
    sender.start()
    samples: dict[str, list[float]] = {service.name: [] for service in rig.line.services}
    while sender.is_alive():
        for service in rig.line.services:
            samples[service.name].append(psutil.Process(service.process.pid).memory_info().rss / MEBIBYTE)
        sender.join(SAMPLE_SECONDS)
    return sent, samples


def _shed_at_once(verdict: ChipInspected) -> bool:
    return verdict.uninspected is not None and verdict.uninspected.stage == "extractor"


def _summary(samples: Sequence[float]) -> Memory:
    tenth = max(1, len(samples) // 10)
    return Memory(
        first=round(median(samples[tenth : 2 * tenth] or samples), 1),
        last=round(median(samples[-tenth:]), 1),
        peak=round(max(samples), 1),
    )


def _rebalances(rig: Rig) -> int:
    return sum(_rebalances_of(service) for service in rig.line.services)


def _rebalances_of(service: RunningService) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{service.admin_port}/metrics", timeout=10) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    samples = [sample for family in families for sample in family.samples]
    return int(sum(sample.value for sample in samples if sample.name == "chipsieve_rebalances_total"))
