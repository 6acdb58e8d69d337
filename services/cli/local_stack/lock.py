"""An exclusive lock on a file, held until every process that inherited it has closed it."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

POLL_S = 0.05


@contextmanager
def exclusive(path: Path, *, timeout_s: float) -> Iterator[int]:
    """Hold the lock on `path` and give its file descriptor, which may be passed on to child processes.

    The lock belongs to the open file, not to the process: a child that inherits the descriptor keeps the lock while it
    has it open, even when this process is killed.

    Raises:
        TimeoutError: somebody else holds it for longer than `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(path, descriptor):
                break
        except BlockingIOError:
            pass
        os.close(descriptor)
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} is locked by another process")
        time.sleep(POLL_S)
    try:
        yield descriptor
    finally:
        os.close(descriptor)  # not LOCK_UN, which would take the lock from the children too


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether the locked file is the one that lies at `path` (`down --purge` removes it while others may wait)."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
