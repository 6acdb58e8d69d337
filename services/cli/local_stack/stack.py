"""Bring the whole stack up, take it down, look at it. Everything it knows lies in one directory.

D/env              addresses, to source
D/ports.json       ports, kept from one start to the next
D/run/NAME.json    pid and start time of each server
D/logs/NAME.log    its output
D/NAME/            its data
D/lock             held by `up` and `down`, and by servers until they are recorded
"""

import json
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from services.cli.local_stack import kafka, ports, process, registry, valkey
from services.cli.local_stack.artifacts import Artifacts, fetch
from services.cli.local_stack.errors import DirectoryUnusable, PortTaken, ServerFailed, StackBusy
from services.cli.local_stack.lock import exclusive
from services.cli.local_stack.server import Server
from shared.topics import load_topics

ANSWERS: dict[str, tuple[Callable[[int], str], Callable[[str], bool]]] = {
    "kafka": (kafka.address, kafka.is_ready),
    "redis": (valkey.address, valkey.is_ready),
    "registry": (registry.address, registry.is_ready),
}
"""Every server by name: its address at a port, and whether it answers there."""
CONTROLLER_OF = {"kafka-controller": "kafka"}
"""A port that comes and goes with a server, and that nobody asks for."""
BUSY_S = 180.0  # an `up` that downloads nothing is done long before
READY_S = 120.0  # six seconds on an idle machine
POLL_S = 0.05


@dataclass(frozen=True)
class Addresses:
    """Where the stack is reached."""

    kafka: str
    """Bootstrap servers."""
    redis: str
    """URL."""
    registry: str
    """URL of the Confluent-compatible interface."""

    def env(self) -> dict[str, str]:
        """The variables that point Chipsieve's settings here."""
        return {
            "CHIPSIEVE_KAFKA__BOOTSTRAP_SERVERS": self.kafka,
            "CHIPSIEVE_REDIS__URL": self.redis,
            "CHIPSIEVE_REGISTRY__URL": self.registry,
        }


@dataclass(frozen=True)
class ServerStatus:
    """One server as `status` sees it."""

    name: str
    running: bool
    ready: bool
    pid: int | None
    address: str | None


def up(directory: Path, *, wanted_ports: Mapping[str, int | None] | None = None) -> Addresses:
    """Start what does not run yet, all at once, and wait until everything answers.

    Args:
        directory: holds all state; made where it is missing.
        wanted_ports: by name of the server; None for the one it had before, else a free one.

    Raises:
        ArtifactsUnavailable: the programs are neither cached nor to be had.
        DirectoryUnusable: the directory cannot be written.
        PortTaken: a wanted port is in use, or its server runs on another one.
        ServerFailed: a server ended or was not ready in time. What this call started is stopped again.
        StackBusy: another `up` or `down` works on the directory.
    """
    artifacts = fetch()
    directory = directory.resolve()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "lock").touch()
    except OSError as refused:
        raise DirectoryUnusable(
            f"the stack cannot be kept in {directory}: {refused}; choose another --dir"
        ) from refused
    with _locked(directory) as lock:
        running = _running(directory)
        chosen = _choose_ports(directory, wanted_ports or {}, set(running))
        servers = _servers(directory, chosen, artifacts)
        missing = [server for server in servers if server.name not in running]
        try:
            with ThreadPoolExecutor(len(servers)) as pool:
                for started in [pool.submit(_start, directory, server, lock) for server in missing]:
                    started.result()
            for server in servers:
                _wait_until_ready(directory, server)
        except BaseException:
            _stop(directory, [server.name for server in missing])
            raise
        addresses = Addresses(**{server.name: server.address for server in servers})
        (directory / "env").write_text("".join(f"export {name}={value}\n" for name, value in addresses.env().items()))
    return addresses


def down(directory: Path, *, purge: bool = False) -> list[str]:
    """Stop what `up` started in `directory`, whatever became of that `up`; the names of the servers that were stopped.

    Args:
        directory: as given to `up`.
        purge: remove data, logs and the rest too.

    Raises:
        StackBusy: another `up` or `down` works on the directory.
    """
    directory = directory.resolve()
    if not (directory / "lock").exists():  # no `up` was ever here
        return []
    with _locked(directory):
        stopped = _stop(directory, list(ANSWERS))
        if purge:
            for name in (*ANSWERS, "run", "logs"):
                shutil.rmtree(directory / name, ignore_errors=True)
            for name in ("env", "ports.json", "ports.unfinished", "lock"):
                (directory / name).unlink(missing_ok=True)
    if purge and not any(directory.iterdir()):
        directory.rmdir()
    return stopped


def status(directory: Path) -> list[ServerStatus]:
    """How each server does, without changing anything."""
    directory = directory.resolve()
    running = _running(directory)
    remembered = _remembered_ports(directory)
    found = []
    for name, (address, is_ready) in ANSWERS.items():
        runs = name in running
        at = address(remembered[name]) if name in remembered else None
        found.append(
            ServerStatus(
                name=name,
                running=runs,
                ready=runs and at is not None and is_ready(at),
                pid=running[name].pid if runs else None,
                address=at,
            )
        )
    return found


def _start(directory: Path, server: Server, lock: int) -> None:
    server.prepare(lock)
    process.start(
        server.command,
        server.environment,
        record=_record(directory, server.name),
        log=_log(directory, server.name),
        directory=directory / server.name,
        lock=lock,
    )


def _wait_until_ready(directory: Path, server: Server) -> None:
    log = _log(directory, server.name)
    deadline = time.monotonic() + READY_S
    while not server.ready(server.address):
        if server.name not in _running(directory):
            raise ServerFailed(f"{server.name} ended while it started; the end of {log}:\n{process.log_tail(log)}")
        if time.monotonic() > deadline:
            raise ServerFailed(
                f"{server.name} was not ready within {READY_S:.0f} s; the end of {log}:\n{process.log_tail(log)}"
            )
        time.sleep(POLL_S)


def _running(directory: Path) -> dict[str, psutil.Process]:
    """The servers that run, by name."""
    records = {name: process.read_record(_record(directory, name)) for name in ANSWERS}
    processes = {name: record.process() for name, record in records.items() if record}
    return {name: found for name, found in processes.items() if found}


def _stop(directory: Path, names: Collection[str]) -> list[str]:
    running = {name: found for name, found in _running(directory).items() if name in names}
    process.stop(list(running.values()))
    for name in set(names) - set(_running(directory)):
        _record(directory, name).unlink(missing_ok=True)
    return list(running)


def _choose_ports(directory: Path, wanted: Mapping[str, int | None], running: Collection[str]) -> dict[str, int]:
    """The ports of the servers that run, and ports for the others."""
    remembered = _remembered_ports(directory)
    for name in running:
        port = wanted.get(name)
        if port not in {None, remembered[name]}:
            raise PortTaken(f"{name} runs on port {remembered[name]}, not {port}: run `chipsieve local down` first")
    kept = {name: port for name, port in remembered.items() if CONTROLLER_OF.get(name, name) in running}
    open_names = [name for name in (*ANSWERS, *CONTROLLER_OF) if name not in kept]
    chosen = kept | ports.choose({name: wanted.get(name) for name in open_names}, remembered)
    unfinished = directory / "ports.unfinished"
    unfinished.write_text(json.dumps(chosen))
    unfinished.replace(directory / "ports.json")
    return chosen


def _remembered_ports(directory: Path) -> dict[str, int]:
    try:
        return {name: int(port) for name, port in json.loads((directory / "ports.json").read_text()).items()}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError) as error:
        raise DirectoryUnusable(
            f"{directory / 'ports.json'} is damaged ({error}): run `chipsieve local down`, remove the file, start again"
        ) from error


def _servers(directory: Path, chosen: dict[str, int], artifacts: Artifacts) -> list[Server]:
    return [
        kafka.server(directory / "kafka", chosen["kafka"], chosen["kafka-controller"], load_topics(), artifacts),
        valkey.server(directory / "redis", chosen["redis"], artifacts),
        registry.server(directory / "registry", chosen["registry"], artifacts),
    ]


def _record(directory: Path, name: str) -> Path:
    return directory / "run" / f"{name}.json"


def _log(directory: Path, name: str) -> Path:
    return directory / "logs" / f"{name}.log"


@contextmanager
def _locked(directory: Path) -> Iterator[int]:
    try:
        with exclusive(directory / "lock", timeout_s=BUSY_S) as lock:
            yield lock
    except TimeoutError as held:
        raise StackBusy(
            f"another `chipsieve local` has been at work on {directory} for {BUSY_S:.0f} s: {held}"
        ) from held
