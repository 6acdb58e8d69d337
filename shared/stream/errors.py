"""What can end a batch, a record or a stage.

StreamError                      (ChipsieveError)
├── TransactionFailed            read the batch again
│   ├── TransactionAborted       nothing of it took effect: it begins where it began before
│   │   └── OutputRefused        … because the broker takes no record of that size; names the records that led to it
│   └── OutcomeUnknown           the broker went away: it knows by its committed offsets whether the batch took effect
├── TopicsMissing                (NotReady) the broker has no such topics
├── RecordsNotReady              (NotReady) a step cannot judge some records of a batch now, and says which
├── InternalError                (Uninspectable) a step failed on one record with an exception it did not foresee
├── OutputTooLarge               (Uninspectable) a record's outcome is larger than its topic takes
├── OverlongIdentity             (Uninspectable) an event's ids are longer than the headers carry on
└── StageStopped                 the process must end; carries its exit status
    ├── Fenced                   another process has taken this worker's slot
    ├── ClientFailed             the Kafka client cannot go on
    └── TooManyDeadLetters       the stage fails on too many records to be trusted
"""

from collections.abc import Collection, Mapping
from enum import IntEnum
from typing import ClassVar

from shared.errors import ChipsieveError, NotReady, Uninspectable
from shared.events import UninspectedReason
from shared.stream.step import Source


class ExitStatus(IntEnum):
    """How a stage's process ended."""

    DRAINED = 0
    """Told to stop; everything in flight was committed or left to its successor."""
    FAILED = 1
    """An error nobody foresaw, or the Kafka client cannot go on; a restart may help."""
    MISCONFIGURED = 2
    """Settings, files or arguments are wrong; a restart does not help."""
    FENCED = 3
    """Another process has the same worker slot."""
    TOO_MANY_DEAD_LETTERS = 4
    """See the first cause in the log before starting it again."""


class StreamError(ChipsieveError):
    """Anything the runtime raises on purpose."""


class TransactionFailed(StreamError):
    """The batch is to be read again."""


class TransactionAborted(TransactionFailed):
    """Nothing of the batch took effect: go back to where it began."""


class OutcomeUnknown(TransactionFailed):
    """The broker went away during the transaction: go back to the offsets that it has as committed."""


class OutputRefused(TransactionAborted):
    """The broker refused outputs by their size, though the topic's declaration allows them."""

    def __init__(self, message: str, sources: Collection[Source]) -> None:
        super().__init__(message)
        self.sources = frozenset(sources)


class TopicsMissing(StreamError, NotReady):
    """The broker answers, and has not all topics that a stage reads and writes."""


class RecordsNotReady(StreamError, NotReady):
    """A step cannot judge some records of a batch now. Raised before it has worked on any: the others come again.

    `reasons` says why, by record; at least one.
    """

    def __init__(self, reasons: Mapping[Source, str]) -> None:
        super().__init__("; ".join(dict.fromkeys(reasons.values())))
        self.reasons = dict(reasons)


class InternalError(StreamError, Uninspectable):
    """A step failed on one record with an exception it did not foresee, which is the cause."""

    reason: ClassVar[UninspectedReason] = UninspectedReason.INTERNAL_ERROR


class OutputTooLarge(StreamError, Uninspectable):
    """A record's outcome is larger than its topic takes."""

    reason: ClassVar[UninspectedReason] = UninspectedReason.OTHER


class OverlongIdentity(StreamError, Uninspectable):
    """An event's ids are longer than the gateway lets any be, and than the headers of what follows carry on."""

    reason: ClassVar[UninspectedReason] = UninspectedReason.MALFORMED_RECORD


class StageStopped(StreamError):
    """The process must end."""

    exit_status: ClassVar[ExitStatus] = ExitStatus.FAILED


class Fenced(StageStopped):
    """Another process has taken this worker's slot: it has begun to do what this one did."""

    exit_status: ClassVar[ExitStatus] = ExitStatus.FENCED


class ClientFailed(StageStopped):
    """The Kafka client says that it cannot go on."""


class TooManyDeadLetters(StageStopped):
    """The stage fails on too many records: more likely the stage is broken than all the records."""

    exit_status: ClassVar[ExitStatus] = ExitStatus.TOO_MANY_DEAD_LETTERS
