"""A producer that can be told where in a transaction its process is to die.

It looks for an order, a file named ``$CHIPSIEVE_TEST_ORDERS.POINT``, at each point of each transaction, and kills its
own process there by SIGKILL.
"""

import os
import signal
from enum import StrEnum
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

ORDERS = "CHIPSIEVE_TEST_ORDERS"
FLUSH_S = 10.0


class Point(StrEnum):
    """A moment in a transaction."""

    AMID_PRODUCE = "amid-produce"
    """Some records, perhaps not all, are in the broker's log."""
    AFTER_PRODUCE = "after-produce"
    """All records are, the offsets are not sent."""
    AFTER_OFFSETS = "after-offsets"
    """Offsets too, the commit is not asked for."""
    AFTER_COMMIT = "after-commit"
    """Everything took effect, and the process never knew."""


def order(orders: Path, point: Point) -> Path:
    """The file that is the order to die at this point."""
    return orders.with_name(f"{orders.name}.{point.value}")


class DyingProducer(Producer):
    """Dies where it is ordered to, with everything before that point carried out by the broker."""

    def produce(self, *args: Any, **kwargs: Any) -> None:
        super().produce(*args, **kwargs)
        self._perhaps_die(Point.AMID_PRODUCE)

    def send_offsets_to_transaction(self, *args: Any) -> None:
        self._perhaps_die(Point.AFTER_PRODUCE)
        super().send_offsets_to_transaction(*args)
        self._perhaps_die(Point.AFTER_OFFSETS)

    def commit_transaction(self, *args: Any) -> None:
        super().commit_transaction(*args)
        self._perhaps_die(Point.AFTER_COMMIT)

    def _perhaps_die(self, point: Point) -> None:
        ordered = order(Path(os.environ[ORDERS]), point)
        if not ordered.exists():
            return
        self.flush(FLUSH_S)
        ordered.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
