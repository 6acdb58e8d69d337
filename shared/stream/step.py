"""What a service does to its records, as seen by the runtime: events in, events out.

A step knows nothing of Kafka: no offsets, no transactions, no threads. The runtime (`shared.stream.loop`) calls
`process`, `tick` and `uninspected` one at a time, never two at once, on one worker thread.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Generic, TypeVar

from shared.errors import Uninspectable
from shared.events import Event, Uninspected
from shared.identity import ChipEvent, Identity

E = TypeVar("E", bound=ChipEvent)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a record lies in Kafka."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}:{self.partition}:{self.offset}"


@dataclass(frozen=True, slots=True)
class Record(Generic[E]):
    """One decoded record."""

    identity: Identity
    event: E
    source: Source


Outcome = Sequence[Event] | Uninspectable
"""What became of one record: the events it leads to, or why its chip cannot be judged."""


class Step(ABC, Generic[E]):
    """One stage of the line. Subclasses keep state only where a partition's records must be seen together."""

    name: ClassVar[str]
    """The stage's name: its consumer group, its transactional id and its metrics carry it."""
    consumes: ClassVar[type[ChipEvent]]
    """The event it reads; the topic follows from `schemas/topics.yaml`."""
    sheds_late_chips: ClassVar[bool] = True
    """Whether a chip past its deadline goes to `uninspected` instead of `process`."""

    def open(self) -> None:
        """Load models and warm up; not ready before it returns. May raise `NotReady` to be called again."""

    @abstractmethod
    def process(self, records: Sequence[Record[E]]) -> Sequence[Outcome]:
        """Judge a micro-batch; one outcome a record, in order.

        Raises `NotReady` where nothing can be judged now: the same records come again. Any other exception makes the
        runtime try the records one by one, so that only those that raise again are given up.
        """

    @abstractmethod
    def uninspected(self, identity: Identity, source: Source, cause: Uninspected, event: E | None) -> Sequence[Event]:
        """The events that say a chip could not be judged. `event` is None where the payload could not be decoded."""

    def tick(self, now: datetime) -> Sequence[Event]:
        """Events due by the clock alone, asked for about once a second."""
        return ()

    def revoked(self, partitions: Sequence[int]) -> None:
        """These partitions of the input topic belong to another process from now on: forget what was kept of them."""

    def not_ready_because(self) -> str | None:
        """Why the step could not judge a chip now, or None when it could; shown by `/readyz`."""
        return None

    def close(self) -> None:
        """Release what `open` took."""
