"""What deadlines are for: an extractor that was away under load, and how soon chips are on time again."""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
from rich.console import Console

from services.cli.benchmark.rig import (
    BenchmarkFailed,
    Rig,
    Verdicts,
    bundle_of,
    on_time,
    readable,
    running,
    send,
    throughput,
)
from shared.bank.bundle_folder import read_bundle
from shared.events import UninspectedReason

STEADY_SECONDS = 5.0  # before the outage, to see that all are on time under this load
AFTER_SECONDS = 15.0
STOP_SECONDS = 20.0


@dataclass(frozen=True)
class DeadlineFigures:
    """What `chipsieve bench deadlines` reports."""

    inspect_images_per_second: float
    """Of the line without deadlines, as fast as it goes."""
    drain_images_per_second: float
    """Late chips from the first UNINSPECTED(TOO_LATE) after the outage to the last."""
    load_images_per_second: float
    outage_s: float
    deadline_ms: int
    stop_s: float
    """From SIGTERM to the extractor's exit, under load."""
    start_s: float
    """From the extractor's start to its readiness: loading the model is most of it."""
    on_time_after_s: float
    """From its readiness until a chip is captured from which on all are on time."""
    late: int
    """Chips that were not on time because of the outage."""
    on_time_p99_ms: float
    """Latency of the chips after that."""
    chips: int
    verdicts: int


def bench_deadlines(
    images: Path, bundle: Path | None, *, load: float, outage_s: float, deadline_ms: int, work: Path, console: Console
) -> DeadlineFigures:
    """Stop the extractor under load, start it again, and look at every verdict.

    Args:
        images: folder of pictures.
        bundle: judges them; built from the pictures where None.
        load: share of the line's throughput to send all the time.
        outage_s: how long there is no extractor.
        deadline_ms: a chip's verdict is due this long after its capture.
        work: folder for logs and a bundle.
        console: where progress is told.

    Raises:
        BenchmarkFailed: no picture can be decoded, verdicts are missing, or chips are never on time again.
    """
    pictures = readable(images)
    loaded = read_bundle(bundle or bundle_of(pictures, work))
    with running(work, loaded) as rig:
        product = loaded.manifest.product
        rate = throughput(rig, product, pictures, console)
        console.print(f"{outage_s:.0f} s without an extractor at {load:.0%} of {rate:.0f} images/s …")
        outage = _outage(rig, product, pictures, interval=1 / (rate * load), outage_s=outage_s, deadline_ms=deadline_ms)
        rig.verdicts.wait_for(outage.sent)
        return _figures(rig.verdicts, outage, rate=rate, load=load, outage_s=outage_s, deadline_ms=deadline_ms)


@dataclass(frozen=True)
class _Outage:
    """What was done to the extractor while chips came."""

    sent: int
    """Chips, all the time."""
    stop_s: float
    starting: float
    """When it was started again, seconds since the epoch."""
    ready: float
    """When it was ready."""


def _outage(
    rig: Rig, product: str, pictures: Sequence[bytes], *, interval: float, outage_s: float, deadline_ms: int
) -> _Outage:
    """Send a picture every `interval` seconds; for `outage_s` of that time there is no extractor."""
    ended = threading.Event()
    sent = 0

    def until_ended() -> Iterator[bytes]:
        nonlocal sent
        for picture in cycle(pictures):
            if ended.is_set():
                return
            sent += 1
            yield picture

    sender = threading.Thread(
        target=lambda: send(rig.producer, product, until_ended(), interval=interval, deadline_ms=deadline_ms)
    )
    sender.start()
    try:
        time.sleep(STEADY_SECONDS)
        extractor = next(service for service in rig.line.services if service.name == "extractor")
        stopping = time.monotonic()
        extractor.process.terminate()
        extractor.process.wait(STOP_SECONDS)
        stop_s = time.monotonic() - stopping
        rig.line.services.remove(extractor)
        time.sleep(outage_s)
        starting = time.time()
        rig.line.start("extractor")
        rig.line.wait_until_ready()
        ready = time.time()
        time.sleep(AFTER_SECONDS)
    finally:
        ended.set()
        sender.join()
    return _Outage(sent, stop_s, starting, ready)


def _figures(
    verdicts: Verdicts, outage: _Outage, *, rate: float, load: float, outage_s: float, deadline_ms: int
) -> DeadlineFigures:
    late = {event_id for event_id in verdicts.arrivals if not on_time(verdicts, event_id)}
    shed_at = sorted(
        arrival
        for event_id, arrival in verdicts.arrivals.items()
        if arrival > outage.starting and _shed(verdicts, event_id)
    )
    captured = {event_id: verdict.captured_at.timestamp() for event_id, verdict in verdicts.by_event.items()}
    on_time_from = max((captured[event_id] for event_id in late), default=0.0)
    settled = max(on_time_from, outage.ready)
    after = [(verdicts.arrivals[e] - captured[e]) * 1000 for e in captured if captured[e] > settled]
    if not after:
        raise BenchmarkFailed(f"chips were not on time within {AFTER_SECONDS:.0f} s: lower --load or raise --deadline")
    return DeadlineFigures(
        inspect_images_per_second=round(rate, 1),
        drain_images_per_second=round(len(shed_at) / max(0.001, shed_at[-1] - shed_at[0]), 1) if shed_at else 0.0,
        load_images_per_second=round(rate * load, 1),
        outage_s=outage_s,
        deadline_ms=deadline_ms,
        stop_s=round(outage.stop_s, 2),
        start_s=round(outage.ready - outage.starting, 2),
        on_time_after_s=round(max(0.0, on_time_from - outage.ready), 2),
        late=len(late),
        on_time_p99_ms=round(float(np.percentile(after, 99)), 1),
        chips=outage.sent,
        verdicts=len(verdicts.arrivals),
    )


def _shed(verdicts: Verdicts, event_id: str) -> bool:
    cause = verdicts.by_event[event_id].uninspected
    return cause is not None and cause.reason is UninspectedReason.TOO_LATE
