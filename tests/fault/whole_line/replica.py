"""One process of a stage, and waiting for what it does."""

import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.fault.whole_line.processes import Service

PATIENCE_S = 300.0  # for a start among many others on two cores; what holds sooner ends the wait
WATCH_S = 0.05

Name = tuple[str, str]
"""Stage and slot."""


class NotInTime(Exception):
    """Something that had to happen did not."""


@dataclass
class Replica:
    """One process."""

    stage: str
    slot: str
    process: Service
    admin_port: int
    orders: Path
    log: Path
    lost_before: int = 0
    """How often it had lost partitions when it became a zombie."""

    @property
    def name(self) -> Name:
        return self.stage, self.slot

    def is_ready(self) -> bool:
        """Whether it could judge a chip now."""
        answer = self._ask("/readyz")
        return answer is not None and '"partitions": []' not in answer

    def times_lost(self) -> int:
        """How often it lost partitions, to anyone and for any reason."""
        pattern = r'chipsieve_rebalances_total\{change="(?:lost|revoked)",.*\} (\d+)'
        return sum(map(int, re.findall(pattern, self._ask("/metrics") or "")))

    def _ask(self, path: str) -> str | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}{path}", timeout=2) as answer:
                return answer.read().decode() if answer.status == 200 else None
        except (urllib.error.URLError, OSError):
            return None


def wait_for(condition: Callable[[], object], what: str, *, seconds: float = PATIENCE_S):
    """The condition's first true value; NotInTime where there is none in time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise NotInTime(f"waited {seconds:.0f} s for {what}")
        time.sleep(WATCH_S)  # what holds in other processes tells nobody when it does
    return value
