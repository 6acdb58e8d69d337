"""What SIGTERM costs under load: how long a service takes to end, and what its successor does again."""

import json
import subprocess
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from services.cli.benchmark.cameras import Cameras
from services.cli.benchmark.rig import BenchmarkFailed, Rig, bundle_of, readable, running, throughput
from services.cli.line import STAGES, RunningService
from shared.bank.bundle_folder import read_bundle

LOAD = 0.8  # of the throughput; right after a stage comes back it has a backlog, and works without a pause
BETWEEN_CHIPS = 100  # verdicts from one SIGTERM to the next
STOP_SECONDS = 60.0


@dataclass(frozen=True)
class DrainingFigures:
    """What `chipsieve bench draining` reports."""

    load_images_per_second: float
    drain_s: dict[str, list[float]]
    """From SIGTERM to the exit, by service; one figure a round."""
    exit_statuses: dict[str, list[int]]
    reprocessed: dict[str, int]
    """Records that a stage was at work on and let go of, which its successor took up again; an aborted transaction
    counts as one."""
    chips: int
    """That the gateway says are stored."""
    refused: int
    """Requests that found no gateway; cameras sent them again until they were stored."""
    verdicts: int
    lost: int
    """Stored chips without a verdict."""
    duplicated: int
    """Verdicts beyond a chip's first."""


def bench_draining(images: Path, bundle: Path | None, *, rounds: int, work: Path, console: Console) -> DrainingFigures:
    """Send SIGTERM to one service after the other under load, and start it again.

    Args:
        images: folder of pictures.
        bundle: judges them; built from the pictures where None.
        rounds: how often each service is stopped.
        work: folder for logs and a bundle.
        console: where progress is told.

    Raises:
        BenchmarkFailed: no picture can be decoded, a service does not end, or verdicts are missing.
    """
    pictures = readable(images)
    loaded = read_bundle(bundle or bundle_of(pictures, work))
    seconds, statuses, dropped = (
        defaultdict[str, list[float]](list),
        defaultdict[str, list[int]](list),
        dict[str, int](),
    )
    with running(work, loaded, ("gateway", *STAGES)) as rig:
        product = loaded.manifest.product
        rate = throughput(rig, product, pictures, console) * LOAD
        cameras = Cameras(rig.gateway_port, product, pictures, rate=rate, insist=True)
        with cameras.sending():
            for number in range(rounds):
                for service in list(rig.line.services):
                    console.print(f"round {number + 1}: SIGTERM to {service.name} at {rate:.0f} images/s …")
                    rig.verdicts.wait_for(len(rig.verdicts.arrivals) + BETWEEN_CHIPS)
                    seconds[service.name].append(_stop(service))
                    statuses[service.name].append(service.process.returncode)
                    dropped[service.name] = dropped.get(service.name, 0) + _dropped(service)
                    _start_again(rig, service)
        rig.verdicts.wait_for(len(cameras.stored))
        return DrainingFigures(
            load_images_per_second=round(rate, 1),
            drain_s=dict(seconds),
            exit_statuses=dict(statuses),
            reprocessed=dropped,
            chips=len(cameras.stored),
            refused=cameras.refused,
            verdicts=len(rig.verdicts.arrivals),
            lost=len(cameras.stored - set(rig.verdicts.arrivals)),
            duplicated=rig.verdicts.repeated,
        )


def _stop(service: RunningService) -> float:
    """Seconds from SIGTERM to the exit."""
    began = time.monotonic()
    service.process.terminate()
    try:
        service.process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired as late:
        raise BenchmarkFailed(f"{service.name} runs {STOP_SECONDS:.0f} s after SIGTERM; see {service.log}") from late
    return round(time.monotonic() - began, 2)


def _start_again(rig: Rig, stopped: RunningService) -> None:
    place = rig.line.services.index(stopped)
    started = rig.line.start(stopped.name, worker=stopped.worker)
    rig.line.services.remove(started)
    rig.line.services[place] = started
    rig.line.wait_until_ready()


def _dropped(service: RunningService) -> int:
    """Records that were let go of since the signal, as the service's log tells."""
    dropped = 0
    for line in reversed(service.log.read_text().splitlines()):
        told = json.loads(line) if line.startswith("{") else {}
        if told.get("event") == "stopping":
            break
        if told.get("event") == "batch_dropped":
            dropped += told["records"]
        elif told.get("event") == "waiting":  # after a transaction that failed
            dropped += 1
    return dropped
