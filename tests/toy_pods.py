"""The toy stage as a StatefulSet has it: worker slots whose processes end and come back, perhaps as another version."""

import json
import os
import subprocess
import sys
import urllib.error
from contextlib import suppress
from pathlib import Path

from services.cli.line import DIRECT, free_port

REPOSITORY = Path(__file__).parents[1]
GRACE_S = 30  # Kubernetes' own


class Pod:
    """A worker slot, and the process in it.

    Args:
        slot: its name.
        log: what its processes write is put at the end of this file.
        program: the module that they run, and its arguments.
    """

    def __init__(self, slot: str, log: Path, *program: str) -> None:
        self._slot, self._log, self._port = slot, log, free_port()
        self.start(*program)

    def start(self, *program: str) -> None:
        """Put a process into the slot, which must be empty."""
        environment = {
            **os.environ,
            "CHIPSIEVE_STREAM__WORKER": self._slot,
            "CHIPSIEVE_ADMIN__PORT": str(self._port),
            "CHIPSIEVE_LOG__FORMAT": "json",
        }
        command = [sys.executable, "-m", *program]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=log, stderr=log)

    def is_ready(self) -> bool:
        """What the kubelet's probe would find, and whether it has partitions."""
        url = f"http://127.0.0.1:{self._port}/readyz"
        with suppress(urllib.error.URLError, ConnectionError), DIRECT.open(url, timeout=2) as answer:
            return bool(json.load(answer)["partitions"])
        return False

    def terminate(self) -> int:
        """SIGTERM; the exit status."""
        self._process.terminate()
        return self._process.wait(GRACE_S)
