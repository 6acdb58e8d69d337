"""One Valkey node, which keeps the memory banks: every write goes to an append-only file."""

import sys
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from services.cli.local_stack import terminator
from services.cli.local_stack.artifacts import Artifacts
from services.cli.local_stack.ports import HOST
from services.cli.local_stack.security import FRONT, Security
from services.cli.local_stack.server import Endpoint, Server

SETTINGS = {
    "appendonly": "yes",  # a published bank survives a crash; the loss window is a second
    "save": "",  # no snapshots besides: they would fork the whole memory
    "maxmemory": "1gb",  # some hundred banks; full means a refused publish, not a machine without memory
    "maxmemory-policy": "noeviction",  # a bank must never vanish because another one came
}
"""What makes this node keep banks as Chipsieve expects; `docker-compose.yml` gives its Valkey the same."""

READY_TIMEOUT_S = 1.0
SOCKET = "valkey.sock"
TERMINATOR = "redis-tls"
"""Name of the server that speaks TLS for it."""


def endpoint(port: int, security: Security | None = None) -> Endpoint:
    """URL of the database."""
    if security is None:
        address = f"redis://{HOST}:{port}/0"
        return Endpoint(address, lambda: _answers(address))
    address = f"rediss://{HOST}:{port}/0"
    return Endpoint(address, lambda: _answers(address, ssl_ca_certs=str(security.authority)))


def servers(directory: Path, port: int, artifacts: Artifacts, security: Security | None) -> list[Server]:
    """The node, with its data in `directory`/redis, and its TLS where it is guarded."""
    home = directory / "redis"
    if security is None:
        return [Server(name="redis", command=_command(home, {"bind": HOST, "port": str(port)}, artifacts))]
    users = security.folder / "valkey-users.acl"
    # Relative, since a socket's path may have 107 characters and a home directory any number; servers start in theirs.
    hidden = {"port": "0", "unixsocket": SOCKET, "unixsocketperm": "600", "aclfile": str(users)}
    certificate = [str(security.file(FRONT, suffix)) for suffix in ("crt", "key")]
    script = [sys.executable, "-P", terminator.__file__, HOST, str(port), f"../redis/{SOCKET}", *certificate]
    return [
        Server(
            name="redis",
            command=_command(home, hidden, artifacts),
            prepare=lambda _lock: security.write_valkey_users(users),
        ),
        Server(name=TERMINATOR, command=script),
    ]


def _command(home: Path, placed: dict[str, str], artifacts: Artifacts) -> list[str]:
    options = {"dir": str(home), "daemonize": "no"} | placed | SETTINGS
    return [str(artifacts.valkey), *(part for name, value in options.items() for part in (f"--{name}", value))]


def _answers(url: str, **tls: str) -> bool:
    """Whether it has loaded its data and answers."""
    try:
        with Redis.from_url(url, socket_timeout=READY_TIMEOUT_S, **tls) as client:
            return bool(client.ping())
    except RedisError:
        return False
