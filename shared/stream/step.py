"""What a service does to its records, as seen by the runtime: events in, events out.

A step knows nothing of Kafka: no offsets, no transactions, no threads. The runtime (`shared.stream.loop`) calls
`process`, `tick` and `uninspected` one at a time, never two at once, on one worker thread.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
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


EventsByPartition = Mapping[int, Sequence[Event]]
"""Events by the partition of the input topic that they are about."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """In place of an event that was kept: nothing of this key need be recalled any more."""

    event: type[Event]
    key: str
    """Its line's id."""


Kept = Mapping[int, Sequence[Event | Forgotten]]
"""What is to be kept, by the partition of the input topic that it is about."""


class Step(ABC, Generic[E]):
    """One stage of the line. Subclasses keep state only where a partition's records must be seen together.

    What is kept of a partition in memory is lost with the process and with the partition. A step that must not lose it
    names an event it `recalls`, returns it from `to_keep` and gets it back by `recall`.
    """

    name: ClassVar[str]
    """The stage's name: its consumer group, its transactional id and its metrics carry it."""
    consumes: ClassVar[type[ChipEvent]]
    """The event it reads; the topic follows from `schemas/topics.yaml`."""
    produces: ClassVar[tuple[type[Event], ...]]
    """The events it leads to, beside what it `recalls`."""
    sheds_late_chips: ClassVar[bool] = True
    """Whether a chip past its deadline goes to `uninspected` instead of `process`."""
    later_stages: ClassVar[timedelta] = timedelta()
    """What the stages after this one usually need, and what is left to them: else all the work would be in vain."""
    takes_each_chip_once: ClassVar[bool] = False
    """Whether a chip that comes again, because its sender repeated it, is dropped. See `shared.stream.once`."""
    recalls: ClassVar[type[Event] | None] = None
    """What the step keeps of a partition outside of the process: an event that only this step writes, by `to_keep`.
    Its topic is compacted."""

    def open(self) -> None:
        """Load models and warm up; not ready before it returns. May raise `NotReady` to be called again."""

    @abstractmethod
    def process(self, records: Sequence[Record[E]]) -> Sequence[Outcome]:
        """Judge a micro-batch; one outcome a record, in order.

        Raises `RecordsNotReady` where some records cannot be judged now, before any work: the others come again at
        once, without those that stand behind such a one in its partition. Raises `NotReady` where nothing can be
        judged now. These records come again later. Any other exception makes the runtime try the records one by one,
        so that only those that raise again are given up, for the reason of an `Uninspectable`.
        """

    @abstractmethod
    def uninspected(self, identity: Identity, source: Source, cause: Uninspected, event: E | None) -> Sequence[Event]:
        """The events that say a chip could not be judged. `event` is None where the payload could not be decoded."""

    def tick(self, now: datetime) -> EventsByPartition:
        """Events due by the clock alone, asked for about once a second, by the partition that they follow from."""
        return {}

    def to_keep(self) -> Kept:
        """What changed of what `recall` must be given, since this was asked last; of each key only the latest.

        `Forgotten` where nothing of a key is to be kept any more: its records go from the topic when that is compacted.

        Asked once a batch, after everything else, and committed with the batch's outcomes.
        """
        return {}

    def recall(self, partition: int, kept: Sequence[Event]) -> None:
        """Begin with a partition: `kept` is what was committed last of each key, by this process or by another.

        Called before the partition's first record where the step `recalls` something, and again after `forget`.
        """

    def forget(self, partitions: Sequence[int]) -> None:
        """Drop what is known of these partitions of the input topic, which go elsewhere or are read again."""

    def not_ready_because(self) -> str | None:
        """Why the step could not judge a chip now, or None when it could; shown by `/readyz`."""
        return None

    def degraded_because(self) -> str | None:
        """Why the step judges by what may be outdated, or None; shown by `/readyz`, which it does not fail."""
        return None

    def close(self) -> None:
        """Release what `open` took."""
