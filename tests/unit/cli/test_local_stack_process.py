"""Servers as detached processes that are recorded before they run."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from services.cli.local_stack import ports, process
from services.cli.local_stack.errors import ServerFailed
from services.cli.local_stack.lock import exclusive

LOCK_S = 20.0  # a starting interpreter, on a machine that does other things


class Folder:
    """Where one server is recorded."""

    def __init__(self, root: Path) -> None:
        self.record = root / "run" / "server.json"
        self.log = root / "logs" / "server.log"
        self.home = root / "server"
        self.lock = root / "lock"

    def start(self, *command: str, environment: dict[str, str] | None = None) -> None:
        with exclusive(self.lock, timeout_s=0) as lock:
            process.start(
                list(command), environment or {}, record=self.record, log=self.log, directory=self.home, lock=lock
            )

    def wait_for_output(self, text: str) -> None:
        while text not in self.log.read_text():
            time.sleep(0.01)

    def running(self) -> psutil.Process | None:
        record = process.read_record(self.record)
        return record.process() if record else None


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    made = Folder(tmp_path)
    yield made
    if running := made.running():
        process.stop([running])


def test_a_started_server_is_recorded_detached_and_writes_to_its_log(folder: Folder) -> None:
    code = "import os, time; print(os.environ['GREETING'], os.getcwd(), flush=True); time.sleep(600)"
    folder.start(sys.executable, "-c", code, environment={"GREETING": "hello"})
    running = folder.running()
    assert running is not None
    assert running.cmdline()[-1] == code
    assert os.getsid(running.pid) != os.getsid(0)
    assert running.ppid() != os.getpid()
    folder.wait_for_output("\n")
    assert folder.log.read_text() == f"hello {folder.home}\n"


def test_a_server_does_not_hold_the_lock_it_was_started_under(folder: Folder) -> None:
    folder.start(sys.executable, "-c", "import time; time.sleep(600)")
    with exclusive(folder.lock, timeout_s=0):
        assert folder.running() is not None


def test_a_stopped_server_is_gone(folder: Folder) -> None:
    folder.start(sys.executable, "-c", "import time; time.sleep(600)")
    running = folder.running()
    assert running is not None
    process.stop([running])
    assert folder.running() is None


def test_a_server_that_ignores_politeness_is_killed(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "TERMINATE_S", 0.1)
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    )
    folder.start(sys.executable, "-c", code)
    folder.wait_for_output("deaf")
    running = folder.running()
    assert running is not None
    process.stop([running])
    assert folder.running() is None


def test_a_server_whose_first_thread_is_gone_still_holds_its_port_and_still_runs(folder: Folder) -> None:
    code = (
        "import ctypes, platform, socket, threading, time\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "threading.Thread(target=time.sleep, args=(600,)).start()\n"
        "print(server.getsockname()[1], flush=True)\n"
        "EXIT = {'x86_64': 60, 'aarch64': 93}[platform.machine()]\n"
        "ctypes.CDLL(None).syscall(EXIT, 0)\n"  # of the first thread alone
    )
    folder.start(sys.executable, "-c", code)
    folder.wait_for_output("\n")
    first = psutil.Process(json.loads(folder.record.read_text())["pid"])
    while first.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    running = folder.running()
    assert running is not None
    port = int(folder.log.read_text())
    assert ports.choose({"kafka": None}, {"kafka": port})["kafka"] != port
    process.stop([running])
    assert folder.running() is None
    assert ports.choose({"kafka": None}, {"kafka": port})["kafka"] == port


def test_a_recycled_pid_is_not_taken_for_ours(folder: Folder) -> None:
    folder.record.parent.mkdir(parents=True)
    ours = psutil.Process()
    folder.record.write_text(json.dumps({"pid": ours.pid, "started": ours.create_time() - 5, "command": []}))
    assert folder.running() is None
    folder.record.write_text(json.dumps({"pid": ours.pid, "started": ours.create_time(), "command": []}))
    assert folder.running() == ours
    folder.record.unlink()


def test_a_program_that_cannot_be_executed_is_named(folder: Folder) -> None:
    with pytest.raises(ServerFailed, match=r"/nowhere/kafka cannot be started: .*No such file"):
        folder.start("/nowhere/kafka")
    assert folder.running() is None


def test_a_server_whose_starter_is_killed_at_once_is_recorded_all_the_same(folder: Folder) -> None:
    """Whoever holds the lock next finds the record, however early the starter dies."""
    starter = (
        "import sys; from pathlib import Path; from unittest import mock; import subprocess\n"
        "from services.cli.local_stack import process; from services.cli.local_stack.lock import exclusive\n"
        "root = Path(sys.argv[1])\n"
        # The launcher is started and never waited for: the moment at which a kill would hurt most.
        "def start_and_die(command, **options):\n"
        "    options = {name: options[name] for name in ('env', 'pass_fds', 'start_new_session')}\n"
        "    subprocess.Popen(command, **options); import os; os.kill(os.getpid(), 9)\n"
        "with exclusive(root / 'lock', timeout_s=0) as lock, mock.patch('subprocess.run', start_and_die):\n"
        "    process.start([sys.executable, '-c', 'import time; time.sleep(600)'], {}, record=root / 'run/server.json',"
        " log=root / 'logs/server.log', directory=root / 'server', lock=lock)\n"
    )
    died = subprocess.run([sys.executable, "-c", starter, str(folder.lock.parent)], check=False)
    assert died.returncode == -9
    with exclusive(folder.lock, timeout_s=LOCK_S):
        running = folder.running()
        assert running is not None
        assert running.cmdline()[-1] == "import time; time.sleep(600)"
