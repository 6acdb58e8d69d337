"""Programs of ours in a Python process of their own, with which all that they load is gone."""

import os
import subprocess
import sys
from pathlib import Path


def environment(**more: str) -> dict[str, str]:
    """This process's own, in which a program finds the packages that run here; and more."""
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), **more}


def last_words(said: str, status: int) -> str:
    """Why a program failed: the last line that it wrote on standard error, else its exit status."""
    return (said.strip().splitlines() or [f"it ended with status {status}"])[-1]


def run(module: str, *arguments: str, timeout: float, **more: str) -> str | None:
    """Run a module to its end, within so many seconds and in `environment`; its last words where it failed.

    Raises:
        OSError: it cannot be started.
        subprocess.TimeoutExpired: it took too long, and was killed.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return last_words(done.stderr, done.returncode) if done.returncode != 0 else None
