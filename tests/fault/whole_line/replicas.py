"""The stages' processes, started again whenever they end, as by an orchestrator; and what can be done to them."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from services.cli.line import STAGES, free_port
from shared.stream.errors import ExitStatus
from tests.fault.whole_line.dying_producer import ORDERS, Point, order
from tests.fault.whole_line.processes import Service
from tests.fault.whole_line.replica import WATCH_S, Name, NotInTime, Replica, wait_for

SLOTS = ("0", "1")
DRAIN_S = 30.0
KILLED = -signal.SIGKILL
BAD_ENDS = {ExitStatus.FAILED, ExitStatus.MISCONFIGURED, ExitStatus.TOO_MANY_DEAD_LETTERS}
"""How no process may end, whatever happens around it."""


@dataclass
class Ended:
    """What became of processes."""

    killed: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    """Exit statuses of all others."""
    slowest_drain_s: float = 0.0
    """From SIGTERM to the exit, of those that were told to end."""


class Replicas:
    """Two processes of each stage; each that ends is started again in its slot, until `drain`.

    Args:
        env: settings of the services, ``CHIPSIEVE_…`` variables.
        folder: for logs and orders.
    """

    def __init__(self, env: Mapping[str, str], folder: Path) -> None:
        self._env = {**os.environ, **env}
        self._folder = folder
        self._lock = threading.RLock()
        self._running: dict[Name, Replica] = {}
        self._zombies: list[Replica] = []
        self._tending = threading.Event()
        self._tender = threading.Thread(target=self._tend, name="orchestrator", daemon=True)
        self.ended = Ended()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start everything; whatever still runs at the end is killed."""
        self._folder.mkdir(parents=True)
        for stage in STAGES:
            for slot in SLOTS:
                self.add(stage, slot)
        self._tender.start()
        try:
            self.wait_until_ready()
            yield
        finally:
            self._stop_tending()
            for replica in [*self._running.values(), *self._zombies]:
                replica.process.kill()
                replica.process.wait()

    def add(self, stage: str, slot: str) -> Replica:
        """Start a process in a slot."""
        with self._lock:
            replica = self._running[stage, slot] = self._start(stage, slot)
            return replica

    def remove(self, stage: str, slot: str) -> None:
        """Drain a process, as for fewer replicas; it must end by itself."""
        with self._lock:
            replica = self._running.pop((stage, slot))
        self._end_politely([replica])

    def drain(self) -> None:
        """Drain everything."""
        self._stop_tending()
        replicas, self._running = list(self._running.values()), {}
        self._end_politely(replicas)

    def wait_until_ready(self) -> None:
        """Return when every slot's process has partitions and could judge."""
        for name in list(self._running):
            self.ready(*name)

    def ready(self, stage: str, slot: str) -> Replica:
        """The slot's process, once it has partitions and could judge."""

        def found() -> Replica | None:
            replica = self._running[stage, slot]
            return replica if replica.is_ready() else None

        return wait_for(found, f"{stage} {slot} to be ready; see {self._folder}")

    def kill(self, *names: Name) -> None:
        """SIGKILL, all at once; one that has just ended by itself is started again before."""
        for name in names:
            wait_for(lambda name=name: self._running[name].process.poll() is None, f"{name} to run")
        with self._lock:
            for name in names:
                self._running[name].process.kill()

    def kill_at(self, stage: str, slot: str, point: Point) -> bool:
        """SIGKILL at a point of a transaction; False where it came to none, and its slot's process was killed so."""
        replica = self.ready(stage, slot)
        ordered = order(replica.orders, point)
        ordered.touch()
        with suppress(NotInTime):
            wait_for(lambda: replica.process.poll() is not None, "the death that was ordered", seconds=10)
        if replica.process.poll() == KILLED:
            return True
        ordered.unlink(missing_ok=True)
        self.kill((stage, slot))
        return False

    def freeze(self, stage: str, slot: str) -> Replica:
        """SIGSTOP."""
        replica = self.ready(stage, slot)
        replica.lost_before = replica.times_lost()
        replica.process.send_signal(signal.SIGSTOP)
        return replica

    def thaw(self, replica: Replica) -> None:
        """SIGCONT."""
        replica.process.send_signal(signal.SIGCONT)

    def replace(self, replica: Replica) -> None:
        """Start another process in the slot of one that is frozen, which thereby becomes a zombie.

        Once thawed and given a record, it must notice and end by itself.
        """
        with self._lock:
            self._zombies.append(replica)
            self._running[replica.name] = self._start(*replica.name)

    def wait_for_zombies(self) -> None:
        """Return when each thawed zombie has ended, or is back in its group so that its next record must end it."""
        wait_for(
            lambda: all(zombie.times_lost() > zombie.lost_before and zombie.is_ready() for zombie in [*self._zombies]),
            "zombies to be back in their groups",
        )

    def _start(self, stage: str, slot: str) -> Replica:
        port = free_port()
        orders = self._folder / f"{stage}-{slot}"
        for point in Point:  # an order that its receiver did not live to read
            order(orders, point).unlink(missing_ok=True)
        settings = {
            **self._env,
            "CHIPSIEVE_ADMIN__PORT": str(port),
            "CHIPSIEVE_STREAM__WORKER": slot,
            ORDERS: str(orders),
        }
        path = orders.with_suffix(".log")
        process = Service(stage, settings, path)
        return Replica(stage, slot, process, port, orders, path)

    def _tend(self) -> None:
        while not self._tending.wait(WATCH_S):
            with self._lock:
                for name, replica in list(self._running.items()):
                    if replica.process.poll() is not None:
                        self._note_end(replica)
                        self._running[name] = self._start(*name)
                for zombie in [zombie for zombie in self._zombies if zombie.process.poll() is not None]:
                    self._zombies.remove(zombie)
                    self._note_end(zombie)

    def _stop_tending(self) -> None:
        self._tending.set()
        if self._tender.is_alive():
            self._tender.join()

    def _end_politely(self, replicas: list[Replica]) -> None:
        told = time.monotonic()
        for replica in replicas:
            replica.process.terminate()
        for replica in replicas:
            try:
                replica.process.wait(DRAIN_S)
                self.ended.slowest_drain_s = max(self.ended.slowest_drain_s, time.monotonic() - told)
            except TimeoutError as late:
                replica.process.kill()
                replica.process.wait()
                raise NotInTime(
                    f"{replica.name} did not end {DRAIN_S:.0f} s after SIGTERM; see {replica.log}"
                ) from late
            self._note_end(replica)

    def _note_end(self, replica: Replica) -> None:
        status = replica.process.poll()
        if status == KILLED:
            self.ended.killed += 1
        else:
            self.ended.statuses[status] += 1


def left_behind(mark: str) -> list[str]:
    """Processes that have `mark` in their environment, their command line or an open file's path, but this one."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values(), *(file.path for file in process.open_files())]
        except psutil.Error:
            continue
        if process.pid != os.getpid() and any(mark in word for word in words):
            found.append(f"{process.pid} {' '.join(process.cmdline())}")
    return found
