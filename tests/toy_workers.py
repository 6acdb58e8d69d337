"""The toy stage as processes that a test may kill or freeze."""

import os
import signal
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


class Workers:
    """Worker processes of one stage, by slot.

    A worker that is frozen amid a transaction holds up its partitions for `transaction_timeout_s`; a broker that is
    away for longer ends the transaction, too.
    """

    def __init__(self, log: Path, *, once: bool = False, streak: int = 50, transaction_timeout_s: int = 60) -> None:
        self._log = log
        self._arguments = ["once"] if once else []
        self._streak = str(streak)
        self._transaction_timeout_ms = str(1000 * transaction_timeout_s)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, slot: str) -> None:
        environment = os.environ | {
            "CHIPSIEVE_STREAM__WORKER": slot,
            "CHIPSIEVE_STREAM__BATCH_SIZE": "5",
            "CHIPSIEVE_STREAM__DEAD_LETTER_STREAK": self._streak,
            "CHIPSIEVE_STREAM__TRANSACTION_TIMEOUT_MS": self._transaction_timeout_ms,
        }
        with self._log.open("ab") as log:
            self._running[slot] = subprocess.Popen(
                [sys.executable, "-m", "tests.toy_stage", *self._arguments], cwd=REPOSITORY, env=environment, stderr=log
            )

    def kill(self, slot: str) -> None:
        self._running[slot].kill()
        self._running.pop(slot).wait()

    def freeze(self, slot: str) -> None:
        self._running[slot].send_signal(signal.SIGSTOP)

    def thaw(self, slot: str) -> None:
        self._running[slot].send_signal(signal.SIGCONT)

    def wait(self, slot: str) -> int:
        """Until a worker ends by itself; its exit status."""
        return self._running.pop(slot).wait(timeout=60)

    def stop(self) -> list[int]:
        """SIGTERM to all; their exit statuses."""
        for process in self._running.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        return [process.wait(timeout=30) for process in self._running.values()]
