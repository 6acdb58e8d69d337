"""Services' processes: each a fork of one that has imported what they all need, so that none spends seconds on that.

To the system, to Kafka and to signals they are processes like any other; only a start takes a moment instead of three
seconds of CPU time, which two cores that run a whole line twice do not have for each death.
"""

import os
import runpy
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing import forkserver, get_context
from pathlib import Path

from shared.stream import service
from tests.fault.whole_line.dying_producer import DyingProducer

FORKS = get_context("forkserver")
IMPORTED = [
    "services.extractor.engines",
    "services.extractor.step",
    "services.matcher.step",
    "services.router.step",
    "shared.bank.bank_cache",
    "shared.bank.recipe_cache",
    "shared.stream.service",
    "shared.vision.engines.openvino",
]
POLL_S = 0.01  # a fork of another process cannot be waited for with a limit while others ask of theirs: see ASKING
# How a fork ended can be read once, and starting one asks it of all others: one at a time.
ASKING = threading.Lock()


def prepare() -> None:
    """Begin to import, in a process that lives as long as this one."""
    forkserver.set_forkserver_preload(["__main__", *IMPORTED])
    forkserver.ensure_running()


class Service:
    """``python -m services.STAGE``, with a producer that can be told to die.

    Args:
        stage: extractor, matcher or router.
        settings: its whole environment.
        log: what it writes is put at the end of this file.
    """

    def __init__(self, stage: str, settings: Mapping[str, str], log: Path) -> None:
        self._process = FORKS.Process(target=_serve, args=(stage, dict(settings), log))
        with ASKING:
            self._process.start()

    def poll(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        with ASKING:
            return self._process.exitcode

    def wait(self, seconds: float | None = None) -> int:
        """Its exit status, once it has ended. Raises `TimeoutError`."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while (status := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"process {self._process.pid} runs {seconds} s later")
            time.sleep(POLL_S)
        return status

    def send_signal(self, number: int) -> None:
        """A signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(self._process.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)


def _serve(stage: str, settings: dict[str, str], log: Path) -> None:
    os.setsid()  # Ctrl-C reaches the driver alone
    with log.open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.environ.clear()
    os.environ.update(settings)
    service.Producer = DyingProducer
    runpy.run_module(f"services.{stage}", run_name="__main__", alter_sys=True)
