"""Memory of each service, idle and after work, and the CPU it takes while nothing comes."""

import time
from itertools import cycle, islice
from pathlib import Path

from rich.console import Console

from benchmarks.pictures import write_chips
from benchmarks.table import Table, command
from services.cli.benchmark.processes import CpuTimes, resident_mb, server_pids, unshared_mb
from services.cli.benchmark.rig import bundle_of, own_stack, running, send
from services.cli.line import STAGES
from shared.bank.bundle_folder import read_bundle

IDLE_S = 10.0
CHIPS = 400
LIMITS_MB = {"gateway": 120, "extractor": 500, "matcher": 300, "router": 120}


def measure() -> Table:
    """Megabytes that are resident, how many of them are shared with nobody, and idle CPU of every service."""
    console = Console(stderr=True)
    with own_stack(console) as work:
        pictures = [path.read_bytes() for path in sorted(write_chips(Path(work) / "chips", 64).iterdir())]
        loaded = read_bundle(bundle_of(pictures, work))
        with running(work, loaded, (*STAGES, "gateway")) as rig:
            pids = {service.name: service.process.pid for service in rig.line.services} | server_pids(work)
            send(rig.producer, loaded.manifest.product, pictures[:16], interval=None)
            rig.verdicts.wait_for(16)
            cpu = CpuTimes.of(pids)
            time.sleep(IDLE_S)  # what is measured: services with nothing to do
            idle = cpu.since()
            before = {name: resident_mb(pid) for name, pid in pids.items()}
            rig.verdicts.clear()
            send(rig.producer, loaded.manifest.product, list(islice(cycle(pictures), CHIPS)), interval=None)
            rig.verdicts.wait_for(CHIPS)
            after = {name: resident_mb(pid) for name, pid in pids.items()}
            unshared = {name: unshared_mb(pid) for name, pid in pids.items()}
    rows = [
        {
            "service": name,
            "idle MB": round(before[name]),
            f"MB after {CHIPS} chips": round(after[name]),
            "of it unshared": round(unshared[name]),
            "limit MB": LIMITS_MB.get(name),
            "idle CPU %": round(idle[name] / IDLE_S * 100, 2),
        }
        for name in pids
    ]
    return Table("Memory (resident, 10^6 bytes) and idle CPU of a core", rows)


if __name__ == "__main__":
    command(measure)
