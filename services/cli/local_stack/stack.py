"""Bring the whole stack up, take it down, look at it. Everything it knows lies in one directory.

D/env              addresses, to source
D/ports.json       ports, kept from one start to the next
D/run/NAME.json    pid and start time of each server
D/logs/NAME.log    its output
D/NAME/            its data
D/security/        of a guarded stack: certificates, users, passwords
D/lock             held by `up` and `down`, and by servers until they are recorded
"""

import json
import shutil
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from confluent_kafka.admin import AdminClient

from services.cli.local_stack import kafka, kafka_access, ports, process, registry, valkey
from services.cli.local_stack.artifacts import Artifacts, fetch
from services.cli.local_stack.errors import DirectoryUnusable, PortTaken, ServerFailed, StackBusy
from services.cli.local_stack.lock import exclusive
from services.cli.local_stack.security import BROKER, EVERYDAY_USER, Security, write_env
from services.cli.local_stack.server import Endpoint, Server
from shared.topics import load_topics

NAMES = ("kafka", "redis", "registry")
"""What clients reach, by name."""
SERVERS = (*NAMES, valkey.TERMINATOR)
"""Every process, by name."""
OWNERS = {
    "kafka": ("kafka",),
    "kafka-controller": ("kafka",),
    "kafka-internal": ("kafka",),
    "redis": ("redis", valkey.TERMINATOR),
    "registry": ("registry",),
}
"""Every port by name, and the servers while one of which runs it stays."""
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
    security: Security | None = None
    """Where the stack is guarded."""

    def env(self, user: str = EVERYDAY_USER) -> dict[str, str]:
        """The variables that point Chipsieve's settings here; a guarded stack knows `user` by them."""
        return self._plain() | (self.security.env(user) if self.security else {})

    def write_env(self, directory: Path) -> None:
        """``env`` of the directory, and every user's."""
        write_env(directory / "env", self.env())
        if self.security:
            self.security.write_env(self._plain())

    def _plain(self) -> dict[str, str]:
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


def up(
    directory: Path,
    *,
    wanted_ports: Mapping[str, int | None] | None = None,
    secure: bool = False,
    full_compiler: bool = False,
) -> Addresses:
    """Start what does not run yet, all at once, and wait until everything answers.

    Args:
        directory: holds all state; made where it is missing.
        wanted_ports: by name of the server; None for the one it had before, else a free one.
        secure: with TLS, users and rights. A directory that has them keeps them, whether asked for or not.
        full_compiler: for a broker that is to be measured as one that has run for long (`local_stack.jvm`).

    Raises:
        ArtifactsUnavailable: the programs are neither cached nor to be had.
        DirectoryUnusable: the directory cannot be written, has a backslash in its name, or is to be guarded and holds
            an open stack.
        PortTaken: a wanted port is in use, or its server runs on another one.
        ServerFailed: a server ended or was not ready in time. What this call started is stopped again.
        StackBusy: another `up` or `down` works on the directory.
    """
    artifacts = fetch()
    directory = directory.resolve()
    if "\\" in str(directory):  # the registry's database takes one for a slash, and would write beside the directory
        raise DirectoryUnusable(f"the stack cannot be kept in {directory}, for the backslash: choose another --dir")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "lock").touch()
    except OSError as refused:
        raise DirectoryUnusable(
            f"the stack cannot be kept in {directory}: {refused}; choose another --dir"
        ) from refused
    with _locked(directory) as lock:
        running = _running(directory)
        security = _security(directory, running, secure=secure)
        chosen = _choose_ports(directory, wanted_ports or {}, set(running))
        servers = _servers(directory, chosen, artifacts, security, full_compiler=full_compiler)
        endpoints = _endpoints(chosen, security)
        missing = [server for server in servers if server.name not in running]
        try:
            with ThreadPoolExecutor(len(servers)) as pool:
                for started in [pool.submit(_start, directory, server, lock) for server in missing]:
                    started.result()
            for server in servers:
                _wait_until_ready(directory, server, endpoints)
            if security:
                _grant(security, chosen)
        except BaseException:
            _stop(directory, [server.name for server in missing])
            raise
        addresses = Addresses(**{name: endpoints[name].address for name in NAMES}, security=security)
        addresses.write_env(directory)
    return addresses


def renew(directory: Path) -> None:
    """Give the servers of a guarded stack new certificates while they run; who is connected stays connected.

    Kafka and Valkey's TLS take them at once, the registry within half a minute.

    Raises:
        DirectoryUnusable: there is no guarded stack.
        ServerFailed: it does not run, or the broker refuses.
    """
    directory = directory.resolve()
    security = Security.kept(directory)
    if security is None:
        raise DirectoryUnusable(f"{directory} holds no guarded stack: `chipsieve local up --secure` makes one")
    with _locked(directory):
        running = _running(directory)
        if stopped := [name for name in ("kafka", valkey.TERMINATOR) if name not in running]:
            raise ServerFailed(f"{', '.join(stopped)} does not run: `chipsieve local up` makes new certificates too")
        security.renew()
        running[valkey.TERMINATOR].send_signal(signal.SIGHUP)
        admin = AdminClient(kafka.own_client(_remembered_ports(directory)["kafka-internal"], security))
        for listener in kafka.CERTIFIED_LISTENERS:
            kafka_access.read_certificate_again(admin, listener, str(security.file(BROKER, "pem")))


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
        stopped = _stop(directory, SERVERS)
        if purge:
            for name in (*SERVERS, "run", "logs", "security"):
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
    security = Security.kept(directory)
    endpoints = _endpoints(_remembered_ports(directory), security)
    found = []
    for name in SERVERS if security else NAMES:
        endpoint = endpoints.get(name)
        runs = name in running
        found.append(
            ServerStatus(
                name=name,
                running=runs,
                ready=runs and endpoint is not None and endpoint.is_ready(),
                pid=running[name].pid if runs else None,
                address=endpoint.address if endpoint else None,
            )
        )
    return found


def left_behind(directory: Path) -> list[int]:
    """The servers that run on though `directory` was deleted while they did, by pid."""
    return process.left_in([directory.resolve() / name for name in SERVERS])


def _security(directory: Path, running: Collection[str], *, secure: bool) -> Security | None:
    """What guards the directory's stack: new certificates where nothing runs that has the old ones in memory."""
    kept = Security.kept(directory)
    if kept is None and not secure:
        return None
    if kept is None and (directory / "ports.json").exists():
        raise DirectoryUnusable(
            f"{directory} holds a stack without passwords: choose another --dir, or end it with "
            "`chipsieve local down --purge`, which removes its data"
        )
    return kept if kept and running else Security.make(directory)


def _grant(security: Security, chosen: Mapping[str, int]) -> None:
    admin = AdminClient(kafka.own_client(chosen["kafka-internal"], security))
    principals = security.principals()
    kafka_access.apply(admin, principals, {name: security.password(name) for name in principals}, load_topics())


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


def _wait_until_ready(directory: Path, server: Server, endpoints: Mapping[str, Endpoint]) -> None:
    log = _log(directory, server.name)
    deadline = time.monotonic() + READY_S
    while not endpoints[server.name].is_ready():
        if server.name not in _running(directory):
            raise ServerFailed(f"{server.name} ended while it started; the end of {log}:\n{process.log_tail(log)}")
        if time.monotonic() > deadline:
            raise ServerFailed(
                f"{server.name} was not ready within {READY_S:.0f} s; the end of {log}:\n{process.log_tail(log)}"
            )
        time.sleep(POLL_S)


def _running(directory: Path) -> dict[str, psutil.Process]:
    """The servers that run, by name."""
    records = {name: process.read_record(_record(directory, name)) for name in SERVERS}
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
    for name in set(NAMES) & set(running):
        port = wanted.get(name)
        if name not in remembered:
            raise DirectoryUnusable(
                f"{directory / 'ports.json'} does not say on which port {name} runs: run `chipsieve local down`, "
                "then start again"
            )
        if port not in {None, remembered[name]}:
            raise PortTaken(f"{name} runs on port {remembered[name]}, not {port}: run `chipsieve local down` first")
    kept = {name: port for name, port in remembered.items() if not set(OWNERS[name]).isdisjoint(running)}
    open_names = [name for name in OWNERS if name not in kept]
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


def _endpoints(chosen: Mapping[str, int], security: Security | None) -> dict[str, Endpoint]:
    """Where each server is reached, of those that have a port."""
    made: dict[str, Callable[[int], Endpoint]] = {
        "kafka": lambda port: kafka.endpoint(port, chosen.get("kafka-internal"), security),
        "redis": lambda port: valkey.endpoint(port, security),
        "registry": lambda port: registry.endpoint(port, security),
    }
    found = {name: endpoint(chosen[name]) for name, endpoint in made.items() if name in chosen}
    return found | ({valkey.TERMINATOR: found["redis"]} if "redis" in found else {})


def _servers(
    directory: Path,
    chosen: dict[str, int],
    artifacts: Artifacts,
    security: Security | None,
    *,
    full_compiler: bool,
) -> list[Server]:
    return [
        kafka.server(directory / "kafka", chosen, load_topics(), artifacts, security, full_compiler=full_compiler),
        *valkey.servers(directory, chosen["redis"], artifacts, security),
        registry.server(directory / "registry", chosen["registry"], artifacts, security),
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
