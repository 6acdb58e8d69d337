"""Detached server processes that are known by pid and start time, so that a recycled pid is never taken for ours."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from services.cli.local_stack import launch
from services.cli.local_stack.errors import DirectoryUnusable, ServerFailed

# The kernel counts starts in ticks since boot; boot time itself is known to the second and moves when the clock is set.
START_TOLERANCE_S = 1.0
TERMINATE_S = 20.0  # Kafka's controlled shutdown takes about two seconds, longer on a loaded machine
KILL_S = 5.0
POLL_S = 0.02
LOG_TAIL_LINES = 40  # a Java stack trace with its cause


@dataclass(frozen=True)
class Record:
    """One started process, as written to the stack's directory."""

    pid: int
    started: float  # seconds since the epoch, from psutil

    def process(self) -> psutil.Process | None:
        """The process itself, or None where it has ended, whoever has its pid now."""
        try:
            process = psutil.Process(self.pid)
            ours = abs(process.create_time() - self.started) <= START_TOLERANCE_S
            return process if ours and runs(process) else None
        except psutil.NoSuchProcess:
            return None


def read_record(path: Path) -> Record | None:
    """The record at `path`, or None where nothing was started. Raises `DirectoryUnusable` where it is damaged."""
    try:
        content = json.loads(path.read_text())
        return Record(pid=int(content["pid"]), started=float(content["started"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:  # a machine that lost its power may have kept an empty file
        raise DirectoryUnusable(
            f"{path} is damaged ({error}): end {path.stem} by hand if it still runs, remove the file, start again"
        ) from error


def start(
    command: list[str], environment: dict[str, str], *, record: Path, log: Path, directory: Path, lock: int
) -> None:
    """Start `command` in its own session, recorded before it runs, with its output appended to `log`.

    Raises:
        ServerFailed: the program cannot be executed.
    """
    for folder in (record.parent, log.parent, directory):
        folder.mkdir(parents=True, exist_ok=True)
    # -P: the script's own folder has modules named like packages that it imports.
    launcher = [sys.executable, "-P", launch.__file__, str(record), str(log), str(directory), str(lock)]
    done = subprocess.run(
        launcher + command,
        env=os.environ | environment,
        pass_fds=[lock],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        start_new_session=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ServerFailed(f"{command[0]} cannot be started: {done.stderr.strip()}")


def runs(process: psutil.Process) -> bool:
    """Whether it has not ended.

    A zombie has: nobody may be there to collect an orphan's status in a container. But only once it is alone: a process
    of many threads is called a zombie when its first one is gone, while the others still hold its files and ports.
    """
    try:
        ended = process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1
        return process.is_running() and not ended
    except psutil.NoSuchProcess:
        return False


def stop(processes: list[psutil.Process]) -> None:
    """End processes politely, then by force; returns when they have ended."""
    for process in processes:
        _signal(process.terminate)
    stubborn = _wait(processes, TERMINATE_S)
    for process in stubborn:
        _signal(process.kill)
    _wait(stubborn, KILL_S)


def left_in(folders: Collection[Path]) -> list[int]:
    """The servers that run in folders which were deleted meanwhile, and their records with them."""
    gone = {f"{folder} (deleted)" for folder in folders}  # as Linux tells it
    found = []
    for process in psutil.process_iter():
        with suppress(OSError, psutil.Error):  # another user's, or ended meanwhile
            where = str(Path(f"/proc/{process.pid}/cwd").readlink())
            if where in gone and process.terminal() is None:  # somebody's shell there has one
                found.append(process.pid)
    return found


def log_tail(log: Path) -> str:
    """The last lines of a log, for a message."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
    except FileNotFoundError:
        return ""


def _wait(processes: list[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Wait until all have ended; those that have not in time."""
    deadline = time.monotonic() + timeout_s
    while (running := [process for process in processes if runs(process)]) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return running


def _signal(send: Callable[[], None]) -> None:
    with suppress(psutil.NoSuchProcess):  # ended by itself meanwhile
        send()
