"""The topics of the pipeline, read from `schemas/topics.yaml`: who carries which event, for how long, and how large."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

import shared
from shared.errors import ConfigurationError
from shared.events import Event

SCHEMAS = Path(shared.__file__).parents[1] / "schemas"
EVENTS: dict[str, type[Event]] = {event.SCHEMA: event for event in get_args(Event)}
"""Every event by the name of its schema."""

Compatibility = Literal["FULL_TRANSITIVE"]
"""What a rolling update takes at least; see `topics.yaml`."""
HOUR_MS = 3_600_000
# A stage reads a compacted topic whole before its first record. Kafka never compacts the segment that it writes to, so
# that one stays small; what it may hold besides the latest record of each key is read in a fraction of a second.
COMPACTION = {
    "segment.bytes": str(4 * 1024 * 1024),
    "segment.ms": str(HOUR_MS),
    "min.cleanable.dirty.ratio": "0.1",
}
# A record's age is reckoned by the broker's clock. By its producer's, a slow clock would have acknowledged records
# expire within minutes, and the broker would refuse whatever one writes that is an hour fast.
TIMESTAMPS = {"message.timestamp.type": "LogAppendTime"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One topic, as it is declared; all names but `declared_as` carry the prefix."""

    declared_as: str
    """Name in `topics.yaml`, for instance ``images``."""
    name: str
    """Name in Kafka: the prefix and the declared name."""
    event: type[Event]
    """The one event it carries."""
    partitions: int
    retention_hours: int | None
    """How long a record is kept; None where the latest of each key is kept for ever (compaction)."""
    max_message_bytes: int
    """Largest record, key and headers included, that the broker takes."""
    compatibility: Compatibility
    """The registry's rule for new versions of the schema."""

    @property
    def subject(self) -> str:
        """Where the registry keeps the schema of its values."""
        return f"{self.name}-value"

    def config(self) -> dict[str, str]:
        """Kafka's settings of the topic."""
        cleanup = (
            {"cleanup.policy": "compact", **COMPACTION}
            if self.retention_hours is None
            else {"cleanup.policy": "delete", "retention.ms": str(self.retention_hours * HOUR_MS)}
        )
        return {**cleanup, **TIMESTAMPS, "max.message.bytes": str(self.max_message_bytes)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Topics:
    """All topics of one plant."""

    by_name: dict[str, Topic]
    """By the name in `topics.yaml`, without the prefix, in the order of the line."""
    max_image_bytes: int
    """Largest encoded picture that travels inline."""

    def topic_of(self, event: type[Event]) -> Topic:
        """The topic that carries an event."""
        return next(topic for topic in self.by_name.values() if topic.event is event)

    @property
    def longest_retention_hours(self) -> int:
        """How long the oldest record is kept that expires at all."""
        return max(topic.retention_hours or 0 for topic in self.by_name.values())

    @property
    def max_message_bytes(self) -> int:
        """Largest record of any topic; what broker, producers and consumers must let through."""
        return max(topic.max_message_bytes for topic in self.by_name.values())


PositiveInt = Annotated[int, Field(gt=0)]


class _TopicDeclaration(BaseModel):
    model_config = ConfigDict(extra="forbid")

    event: str
    partitions: PositiveInt
    cleanup: Literal["delete", "compact"] = "delete"
    retention_hours: PositiveInt | None = None
    max_message_bytes: PositiveInt
    compatibility: Compatibility

    @model_validator(mode="after")
    def _retention_where_records_expire(self) -> Self:
        if (self.cleanup == "delete") != (self.retention_hours is not None):
            raise ValueError("a topic has either retention_hours, or cleanup: compact")
        return self


class _TopicsDeclaration(BaseModel):
    model_config = ConfigDict(extra="forbid")

    max_image_bytes: PositiveInt
    record_overhead_bytes: PositiveInt
    topics: dict[str, _TopicDeclaration]


def load_topics(path: Path = SCHEMAS / "topics.yaml", *, prefix: str = "") -> Topics:
    """Read and check the declaration of the topics.

    `prefix` is put before every name (`Settings.topic_prefix`). Raises `ConfigurationError` where the file is not as it
    should be, an event has no topic or two, or the limits on sizes contradict each other.
    """
    try:
        plain: Any = yaml.safe_load(path.read_text())
        declared = _TopicsDeclaration.model_validate(plain)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror}); it declares the topics") from error
    except (yaml.YAMLError, ValidationError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    _check_events(path, declared)
    _check_partitions(path, declared)
    _check_limits(path, declared)
    return Topics(
        by_name={
            name: Topic(
                declared_as=name,
                name=prefix + name,
                event=EVENTS[topic.event],
                partitions=topic.partitions,
                retention_hours=topic.retention_hours,
                max_message_bytes=topic.max_message_bytes,
                compatibility=topic.compatibility,
            )
            for name, topic in declared.topics.items()
        },
        max_image_bytes=declared.max_image_bytes,
    )


def _check_events(path: Path, declared: _TopicsDeclaration) -> None:
    carried = sorted(topic.event for topic in declared.topics.values())
    if carried != sorted(EVENTS):
        raise ConfigurationError(
            f"{path}: topics carry {carried}; every one of {sorted(EVENTS)} needs exactly one topic"
        )


def _check_partitions(path: Path, declared: _TopicsDeclaration) -> None:
    """What follows from partition 3 of a topic lies in partition 3 of the next: so a stage finds what it said of it."""
    counts = {name: topic.partitions for name, topic in declared.topics.items()}
    if len(set(counts.values())) > 1:
        raise ConfigurationError(f"{path}: partitions are {counts}; all topics need the same number")


def _check_limits(path: Path, declared: _TopicsDeclaration) -> None:
    """A picture that the gateway takes must fit its topic, and whatever fails must fit the dead letters whole."""
    limit = {topic.event: topic.max_message_bytes for topic in declared.topics.values()}
    overhead = declared.record_overhead_bytes
    if limit["ImageCaptured"] < declared.max_image_bytes + overhead:
        raise ConfigurationError(
            f"{path}: max_message_bytes of ImageCaptured's topic is {limit['ImageCaptured']}; a picture of "
            f"max_image_bytes with its record_overhead_bytes needs {declared.max_image_bytes + overhead}"
        )
    largest = max(bytes_ for event, bytes_ in limit.items() if event != "DeadLetter")
    if limit["DeadLetter"] < largest + overhead:
        raise ConfigurationError(
            f"{path}: max_message_bytes of DeadLetter's topic is {limit['DeadLetter']}; the largest record "
            f"({largest}) with its record_overhead_bytes needs {largest + overhead}"
        )
