"""Ports on the loopback interface: free ones, and who holds a taken one."""

import secrets
import socket
from contextlib import ExitStack

import psutil

from services.cli.local_stack.errors import PortTaken

HOST = "127.0.0.1"
# Below the ports that the kernel gives to outgoing connections: until its server has started, nothing else takes one.
UNCLAIMED = range(15_000, 32_000)


def choose(wanted: dict[str, int | None], remembered: dict[str, int]) -> dict[str, int]:
    """A port for each name: the wanted one, else the one it had before where that is free, else any free one.

    Raises:
        PortTaken: a wanted port is in use, or wanted twice.
    """
    chosen: dict[str, int] = {}
    with ExitStack() as held:  # all are held until all are chosen, so that no two get the same
        for name, port in sorted(wanted.items(), key=lambda item: item[1] is None):
            if twin := next((other for other, taken in chosen.items() if port and taken == port), None):
                raise PortTaken(
                    f"--{twin}-port and --{name}-port both name {port}: give each its own, or none for a free one"
                )
            bound = _bind(port) if port else _bind(remembered.get(name)) or _bind_any()
            if bound is None:
                raise PortTaken(
                    f"port {port} for {name} is taken by {holder(port or 0)}: "
                    f"give another one with --{name}-port, or none for a free one"
                )
            held.enter_context(bound)
            chosen[name] = bound.getsockname()[1]
    return chosen


def holder(port: int) -> str:
    """Who listens on `port`, in words."""
    try:
        for connection in psutil.net_connections(kind="tcp"):
            if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN:
                if connection.pid:
                    return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
                return "a process of another user"
    except psutil.Error:
        pass  # the system tells only root
    return "another process"


def _bind_any() -> socket.socket:
    while True:
        if bound := _bind(secrets.choice(UNCLAIMED)):
            return bound


def _bind(port: int | None) -> socket.socket | None:
    """A socket bound to `port`, or None where there is none or it is taken."""
    if port is None:
        return None
    candidate = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that linger do not count
    try:
        candidate.bind((HOST, port))
        # Bound is not enough: another socket with SO_REUSEADDR may be bound to the port too until one listens.
        candidate.listen()
    except OSError:
        candidate.close()
        return None
    return candidate
