"""Records as the runtime carries them: bytes in, bytes out."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import methodcaller

import structlog
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message

from shared import tracing
from shared.identity import EPOCH, REPLAY_OF, Headers, Identity, from_headers
from shared.stream.step import Source
from shared.tracing import Trace

# What Kafka counts to a record beside its key, value and headers: batch header, lengths, offsets. 70 bytes and some.
FRAMING_BYTES = 512
TOMBSTONE = b""  # the value of a record that hides those of its key: no event is as short
HEADER_BYTES = 140  # of a received header beside its name and value: Python's pair, string and bytes

# Where a header's name is not UTF-8, the client (confluent-kafka 2.16) leaves an error behind and returns as if there
# were none. The interpreter notices where its own C code calls; calls from Python that it made often it does not check,
# and the error then comes up anywhere later.
_headers = methodcaller("headers")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Received:
    """A record of the input topic, not decoded yet."""

    source: Source
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    timestamp: datetime
    """When the broker took it, by the broker's clock (UTC)."""

    @classmethod
    def from_message(cls, message: Message) -> "Received":
        """Take a record over from the Kafka client; the message must not be an error.

        Any record: headers that the client cannot read are left out, and now stands for a time that is none.
        """
        source = Source(message.topic(), message.partition(), message.offset())
        return cls(source, message.key(), message.value(), _headers_of(message, source), _time_of(message))

    @property
    def identity(self) -> Identity:
        """The chip it is about, as far as that can be told without its value."""
        return from_headers(self.headers, key=self.key, position=str(self.source), timestamp=self.timestamp)

    @property
    def replay_of(self) -> bytes | None:
        """The dead letter that was sent back as this record, or that led to it."""
        return next((value for name, value in self.headers if name == REPLAY_OF), None)

    @property
    def trace(self) -> Trace | None:
        """The trace it belongs to, where its chip is traced."""
        return tracing.from_headers(self.headers)

    @property
    def size(self) -> int:
        """Bytes it holds in memory, nearly."""
        headers = sum(len(name) + len(value or b"") + HEADER_BYTES for name, value in self.headers)
        return len(self.key or b"") + len(self.value or b"") + headers + FRAMING_BYTES


@dataclass(frozen=True, slots=True)
class Output:
    """A record to be produced."""

    topic: str
    partition: int
    """That of the record it follows from, so that what a stage kept of a partition can be found again."""
    key: bytes
    value: bytes
    headers: Headers
    source: Source | None
    """The record it follows from; None where it follows from none alone."""

    @property
    def size(self) -> int:
        """Bytes that count against a topic's limit, a little too many rather than too few."""
        headers = sum(len(name) + len(value or b"") + 8 for name, value in self.headers)
        return len(self.key) + len(self.value) + headers + FRAMING_BYTES


def _headers_of(message: Message, source: Source) -> tuple[tuple[str, bytes | None], ...]:
    try:
        return tuple(_headers(message) or ())
    except (SystemError, UnicodeError) as error:  # other clients may send any bytes for a name
        log.warning("headers_unreadable", source=str(source), error=str(error.__cause__ or error))
        return ()


def _time_of(message: Message) -> datetime:
    kind, milliseconds = message.timestamp()
    try:
        if kind != TIMESTAMP_NOT_AVAILABLE:
            return EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:  # before the year 1 or after 9999: its producer's clock, or another unit
        pass
    return datetime.now(UTC)


def next_offsets(records: Iterable[Received]) -> dict[int, int]:
    """Where to go on once these records are done, by partition."""
    following: dict[int, int] = {}
    for record in records:
        partition, offset = record.source.partition, record.source.offset
        following[partition] = max(offset + 1, following.get(partition, 0))
    return following
