"""The line's services as processes of this machine: started, waited for, drained."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from services.cli.local_stack import ports
from shared.errors import ChipsieveError

STAGES = ("extractor", "matcher", "router")
# As in the images (Dockerfile, which says why).
ENVIRONMENT = {"gateway": {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "131072"}}
READY_SECONDS = 120.0  # a first start may compile an engine from the Keras model; later ones take a few seconds
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy reaches this machine's own ports
DRAIN_SECONDS = 20.0  # a batch in flight and its transaction; past it the process is killed
_given: set[int] = set()  # ports, to services that may not listen yet


class ServiceFailed(ChipsieveError):
    """A service ended, or did not become ready."""


@dataclass(frozen=True)
class RunningService:
    """One service process and where it answers and logs."""

    name: str
    worker: str
    """Its slot."""
    process: "subprocess.Popen[bytes]"
    admin_port: int
    log: Path

    def is_ready(self) -> bool:
        """Whether it is assigned its partitions and able to judge."""
        try:
            with DIRECT.open(f"http://127.0.0.1:{self.admin_port}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def last_words(self) -> str:
        """The end of its log, to say why it failed."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


class Line:
    """Service processes that live as long as the ``with`` block.

    Args:
        env: settings of the services, ``CHIPSIEVE_…`` variables.
        logs: folder that gets one log file a process.
        services: their names; a name given twice starts two replicas.
        package: where their modules lie.
    """

    def __init__(
        self, env: Mapping[str, str], logs: Path, services: Sequence[str] = STAGES, *, package: str = "services"
    ) -> None:
        self._env = dict(env)
        self._logs = logs
        self._names = services
        self._package = package
        self.services: list[RunningService] = []

    def __enter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        try:
            for index, name in enumerate(self._names):
                self.start(name, worker=str(index))
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, name: str, *, worker: str = "0", env: Mapping[str, str] | None = None) -> RunningService:
        """Start one more process; `worker` names its slot, unique among the replicas of its stage."""
        port = free_port()
        settings = {
            **ENVIRONMENT.get(name, {}),
            **os.environ,
            **self._env,
            **(env or {}),
            "CHIPSIEVE_ADMIN__PORT": str(port),
            "CHIPSIEVE_STREAM__WORKER": worker,
        }
        log = self._logs / f"{name}-{worker}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", f"{self._package}.{name}"],
                env=settings,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Its own session: Ctrl-C reaches us alone, and we drain it in order.
                start_new_session=True,
            )
        service = RunningService(name, worker, process, port, log)
        self.services.append(service)
        return service

    def wait_until_ready(self) -> None:
        """Return when every process is ready; `ServiceFailed` names the one that is not, with the end of its log."""
        deadline = time.monotonic() + READY_SECONDS
        for service in self.services:
            while not service.is_ready():
                self.check()
                if time.monotonic() > deadline:
                    raise ServiceFailed(
                        f"{service.name} was not ready after {READY_SECONDS:.0f} s; {service.log} ends with:\n"
                        f"{service.last_words()}"
                    )
                time.sleep(0.05)

    def check(self) -> None:
        """Raise `ServiceFailed` where a process has ended."""
        for service in self.services:
            if service.process.poll() is not None:
                raise ServiceFailed(
                    f"{service.name} ended with status {service.process.returncode}; {service.log} ends with:\n"
                    f"{service.last_words()}"
                )

    def stop(self) -> None:
        """Drain every process by SIGTERM, in the order pictures flow; kill what does not end."""
        for service in self.services:
            with contextlib.suppress(ProcessLookupError):
                service.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + DRAIN_SECONDS
        for service in self.services:
            try:
                service.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                service.process.kill()
                service.process.wait()
        self.services.clear()


def free_port() -> int:
    """A TCP port of the loopback interface that is free, another one at each call.

    None that the kernel gives to outgoing connections: one of those could take it before the service has started.
    """
    while (port := ports.choose({"service": None}, {})["service"]) in _given:
        pass
    _given.add(port)
    return port
