"""CPU time and memory of the line's processes, as the operating system counts them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

from services.cli.local_stack import stack

CLIENT = "client"


@dataclass(frozen=True)
class CpuTimes:
    """CPU seconds of some processes and of this one, from a moment on."""

    processes: dict[str, psutil.Process]
    before: dict[str, float]

    @classmethod
    def of(cls, pids: Mapping[str, int]) -> Self:
        """Begin to count."""
        processes = {name: psutil.Process(pid) for name, pid in {**pids, CLIENT: os.getpid()}.items()}
        return cls(processes, {name: _seconds(process) for name, process in processes.items()})

    def since(self) -> dict[str, float]:
        """Seconds since then, by name."""
        return {name: _seconds(process) - self.before[name] for name, process in self.processes.items()}


def server_pids(work: Path) -> dict[str, int]:
    """The servers of the benchmark's own stack below `work`, by name."""
    return {server.name: server.pid for server in stack.status(work / "stack") if server.pid is not None}


def resident_mb(pid: int) -> float:
    """Resident memory, megabytes of 10^6 bytes."""
    return float(psutil.Process(pid).memory_info().rss / 1e6)


def unshared_mb(pid: int) -> float:
    """Memory that would be free if the process ended, megabytes of 10^6 bytes.

    What is resident also counts what of a library's file happens to be mapped, for each process that has it: newer
    kernels map far more of it at once, and it costs none of them anything.
    """
    return float(psutil.Process(pid).memory_full_info().uss / 1e6)


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
