"""One Valkey node, which keeps the memory banks: every write goes to an append-only file."""

from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from services.cli.local_stack.artifacts import Artifacts
from services.cli.local_stack.ports import HOST
from services.cli.local_stack.server import Server

SETTINGS = {
    "appendonly": "yes",  # a published bank survives a crash; the loss window is a second
    "save": "",  # no snapshots besides: they would fork the whole memory
    "maxmemory": "1gb",  # some hundred banks; full means a refused publish, not a machine without memory
    "maxmemory-policy": "noeviction",  # a bank must never vanish because another one came
}
"""What makes this node keep banks as Chipsieve expects; `docker-compose.yml` gives its Valkey the same."""

READY_TIMEOUT_S = 1.0


def address(port: int) -> str:
    """URL of the database."""
    return f"redis://{HOST}:{port}/0"


def server(home: Path, port: int, artifacts: Artifacts) -> Server:
    """The node, with its data in `home`, listening on `port`."""
    placed = {"bind": HOST, "port": str(port), "dir": str(home), "daemonize": "no"}
    options = [part for name, value in (placed | SETTINGS).items() for part in (f"--{name}", value)]
    return Server(
        name="redis",
        address=address(port),
        command=[str(artifacts.valkey), *options],
        ready=is_ready,
    )


def is_ready(url: str) -> bool:
    """Whether it has loaded its data and answers."""
    try:
        with Redis.from_url(url, socket_timeout=READY_TIMEOUT_S) as client:
            return bool(client.ping())
    except RedisError:
        return False
