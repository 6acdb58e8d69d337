"""A stage without pictures, for tests of the runtime: what it does to a chip is written in the chip's product.

Started as a program it runs until SIGTERM, like any service.
"""

import sys
import time
from collections import Counter
from collections.abc import Sequence
from threading import Event as Flag
from typing import ClassVar

from shared.errors import NotReady, Uninspectable
from shared.events import (
    Event,
    FeatureGrid,
    FeaturesExtracted,
    ImageCaptured,
    ImagePointer,
    Uninspected,
    UninspectedReason,
)
from shared.identity import Identity
from shared.settings import ServiceSettings
from shared.stream.entry import enter
from shared.stream.errors import RecordsNotReady
from shared.stream.service import run
from shared.stream.step import EventsByPartition, Outcome, Record, Source, Step


class NoSuchProduct(Uninspectable):
    """Any chip of the product ``poison``."""

    reason: ClassVar[UninspectedReason] = UninspectedReason.UNKNOWN_PRODUCT


class ToyStep(Step[ImageCaptured]):
    """Forwards chips, except those of the products poison, bug, huge and slow."""

    name = "toy"
    consumes = ImageCaptured
    produces = (FeaturesExtracted,)

    def __init__(self, *, slow_s: float = 0.0) -> None:
        self.ready = Flag()
        self.ready.set()
        self.may_go_on = Flag()
        self.may_go_on.set()
        self.batches: list[list[str]] = []
        """Event ids of each call of `process`."""
        self.forgotten: Counter[int] = Counter()
        self.alerts: list[Event] = []
        """What the next tick returns."""
        self.closed = False
        self.lacking: Counter[str] = Counter()
        """How often a chip still cannot be judged, by its event's id."""
        self._slow_s = slow_s

    def process(self, records: Sequence[Record[ImageCaptured]]) -> Sequence[Outcome]:
        self.batches.append([record.identity.event_id for record in records])
        if not self.ready.is_set():
            raise NotReady("the toy waits for its test")
        if waiting := [record for record in records if self.lacking[record.identity.event_id] > 0]:
            self.lacking.subtract(record.identity.event_id for record in waiting)
            raise RecordsNotReady({record.source: f"no bank for {record.identity.event_id}" for record in waiting})
        self.may_go_on.wait(timeout=60)
        time.sleep(self._slow_s)
        return [self._outcome(record) for record in records]

    def _outcome(self, record: Record[ImageCaptured]) -> Outcome:
        if record.identity.product == "poison":
            return NoSuchProduct("product poison is unknown")
        if record.identity.product == "bug":
            raise ZeroDivisionError("an unforeseen chip")
        size = 9_000_000 if record.identity.product == "huge" else 1
        grid = FeatureGrid(layer="toy", height=1, width=1, channels=size, values=bytes(size), scales=bytes(4))
        return [self._forward(record.identity, record.source, grids=(grid,))]

    def uninspected(
        self, identity: Identity, source: Source, cause: Uninspected, event: ImageCaptured | None
    ) -> Sequence[Event]:
        return [self._forward(identity, source, uninspected=cause)]

    def tick(self, now: object) -> EventsByPartition:
        due, self.alerts = self.alerts, []
        return {0: due} if due else {}

    def forget(self, partitions: Sequence[int]) -> None:
        self.forgotten.update(partitions)

    def close(self) -> None:
        self.closed = True

    @staticmethod
    def _forward(identity: Identity, source: Source, **fields: object) -> FeaturesExtracted:
        pointer = ImagePointer(topic=source.topic, partition=source.partition, offset=source.offset)
        return FeaturesExtracted(**identity.fields(), image=pointer, **fields)


class OnceStep(ToyStep):
    """Takes each chip once."""

    takes_each_chip_once = True


if __name__ == "__main__":
    step = OnceStep if "once" in sys.argv else ToyStep
    sys.exit(enter(step.name, ServiceSettings, lambda settings: run(step(slow_s=0.02), settings)))
