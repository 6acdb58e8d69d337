"""What the stack needs to know of a server; `kafka.py`, `valkey.py` and `registry.py` each make one."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Server:
    """One server, not yet started."""

    name: str
    address: str
    """What clients are told."""
    ready: Callable[[str], bool]
    """Whether it answers at its address as clients need it to; quick, and asked until it does."""
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    prepare: Callable[[int], None] = lambda _lock: None
    """Runs before each start, with the descriptor of the stack's lock for child processes to hold."""
