"""What the stack needs to know of a server; `kafka.py`, `valkey.py` and `registry.py` each make one."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Endpoint:
    """Where a server is reached."""

    address: str
    """What clients are told."""
    is_ready: Callable[[], bool]
    """Whether it answers there as clients need it to; quick, and asked until it does."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """One server, not yet started."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    prepare: Callable[[int], None] = lambda _lock: None
    """Runs before each start, with the descriptor of the stack's lock for child processes to hold."""
