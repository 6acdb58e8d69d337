"""Start one server detached, and record it before it is one.

Run as a script: ``launch.py RECORD LOG DIRECTORY LOCK_FD COMMAND…``. The child writes its own pid and start time to
RECORD and only then becomes COMMAND by exec, which keeps both; so there is no moment at which a server runs without a
record, whenever `chipsieve local up` is killed. The inherited lock on the stack's directory closes at that exec, so
`chipsieve local down` cannot look before the record is there. The script ends once the exec has happened.
"""

import json
import os
import sys
from pathlib import Path

import psutil


def main(record: Path, log: Path, directory: Path, lock: int, command: list[str]) -> int:
    """Fork, record, exec; the parent gives 1 with the reason on standard error where that failed."""
    outcome, report = os.pipe()  # closed by exec, so the parent reads nothing when all went well
    if os.fork():
        os.close(report)
        os.close(lock)
        failure = b"".join(iter(lambda: os.read(outcome, 4096), b""))
        sys.stderr.buffer.write(failure)
        return 1 if failure else 0
    try:
        os.set_inheritable(lock, False)
        os.setsid()
        os.chdir(directory)
        _redirect(log)
        _write(record, {"pid": os.getpid(), "started": psutil.Process().create_time(), "command": command})
        os.execv(command[0], command)  # noqa: S606 no shell is wanted
    except OSError as failed:
        os.write(report, str(failed).encode())
    os._exit(1)


def _redirect(log: Path) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)


def _write(record: Path, content: dict[str, object]) -> None:
    unfinished = record.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(content))
    unfinished.replace(record)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), sys.argv[5:]))
