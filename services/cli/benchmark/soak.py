"""Twice as many pictures as the line can inspect, for minutes: memory stays flat, and what is inspected is on time."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

import psutil
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from services.cli.benchmark.cameras import Cameras
from services.cli.benchmark.rig import Rig, bundle_of, on_time, readable, running, throughput
from services.cli.line import DIRECT, STAGES, RunningService
from shared.bank.bundle_folder import read_bundle
from shared.events import ChipInspected

SAMPLE_SECONDS = 1.0  # memory is read by the clock: there is nothing to wait for
MEBIBYTE = 2**20


@dataclass(frozen=True)
class Memory:
    """Resident memory of one process in MiB."""

    tenths: list[float]
    """Median of each tenth of the time; the first belongs to buffers that fill."""
    growth: float
    """From the second tenth to the last."""
    peak: float


@dataclass(frozen=True)
class SoakFigures:
    """What `chipsieve bench soak` reports."""

    inspect_images_per_second: float
    load_images_per_second: float
    """What was asked for; cameras wait for the gateway's answers, so it may be less: `chips` over `seconds`."""
    seconds: float
    chips: int
    """That the gateway stored."""
    refused: int
    """Pictures that the gateway told to come again, or did not answer; they were not sent again."""
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
    pictures = readable(images)
    loaded = read_bundle(bundle or bundle_of(pictures, work))
    with running(work, loaded, (*STAGES, "gateway")) as rig:
        product = loaded.manifest.product
        rate = throughput(rig, product, pictures, console)
        console.print(f"{load:g} times {rate:.0f} images/s for {seconds:.0f} s …")
        before = _rebalances(rig)
        cameras = Cameras(rig.gateway_port, product, pictures, rate=rate * load, deadline_ms=deadline_ms)
        with cameras.sending():
            samples = _watch(rig, seconds)
        sent = len(cameras.stored)
        rig.verdicts.wait_for(sent)
        in_time = sum(on_time(rig.verdicts, event_id) for event_id in rig.verdicts.arrivals)
        shed = sum(_shed_at_once(verdict) for verdict in rig.verdicts.by_event.values())
        return SoakFigures(
            inspect_images_per_second=round(rate, 1),
            load_images_per_second=round(rate * load, 1),
            seconds=seconds,
            chips=sent,
            refused=cameras.refused,
            verdicts=len(rig.verdicts.arrivals),
            on_time=in_time,
            on_time_images_per_second=round(in_time / seconds, 1),
            in_vain=len(rig.verdicts.arrivals) - in_time - shed,
            memory_mib={name: summary(values) for name, values in samples.items()},
            rebalances=_rebalances(rig) - before,
        )


def _watch(rig: Rig, seconds: float) -> dict[str, list[float]]:
    """The memory of each service for some time."""
    end = time.monotonic() + seconds
    samples: dict[str, list[float]] = {service.name: [] for service in rig.line.services}
    while time.monotonic() < end:
        for service in rig.line.services:
            samples[service.name].append(psutil.Process(service.process.pid).memory_info().rss / MEBIBYTE)
        time.sleep(SAMPLE_SECONDS)
    return samples


def _shed_at_once(verdict: ChipInspected) -> bool:
    return verdict.uninspected is not None and verdict.uninspected.stage == "extractor"


def summary(samples: Sequence[float]) -> Memory:
    """Of samples of MiB, taken evenly."""
    edges = [len(samples) * tenth // 10 for tenth in range(11)]
    tenths = [round(median(samples[start:end]), 1) for start, end in pairwise(edges)]
    return Memory(tenths=tenths, growth=round(tenths[-1] - tenths[1], 1), peak=round(max(samples), 1))


def _rebalances(rig: Rig) -> int:
    return sum(_rebalances_of(service) for service in rig.line.services)


def _rebalances_of(service: RunningService) -> int:
    with DIRECT.open(f"http://127.0.0.1:{service.admin_port}/metrics", timeout=10) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    samples = [sample for family in families for sample in family.samples]
    return int(sum(sample.value for sample in samples if sample.name == "chipsieve_rebalances_total"))
