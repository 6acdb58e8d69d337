"""What becomes of a batch: decode, shed, process, isolate what fails, encode. Everything the worker thread does.

No Kafka here: bytes in, bytes out.
"""

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, Protocol, TypeVar

import structlog

from shared.errors import NotReady, Uninspectable
from shared.events import DeadLetter, Event, Uninspected
from shared.identity import ChipEvent, Identity, from_headers, identity_of, to_headers
from shared.stream.dead_letter import dead_letter
from shared.stream.deadline import overdue
from shared.stream.errors import InternalError, OutputTooLarge
from shared.stream.record import Output, Received
from shared.stream.step import Outcome, Record, Source, Step
from shared.topics import Topics
from shared.wire.errors import UnwritableEvent

E = TypeVar("E", bound=ChipEvent)
D = TypeVar("D", bound=Event)

DETAIL_CHARACTERS = 500  # one sentence for people; an exception may carry a whole document

log = structlog.get_logger()


class EventCodec(Protocol):
    """What is asked of `shared.wire.codec.Codec`."""

    def encode(self, event: Event) -> bytes:
        """The event as the value of a record."""
        ...

    def decode(self, data: bytes | None, expect: type[D]) -> D:
        """The event in the value of a record."""
        ...


@dataclass(frozen=True, slots=True)
class Settled:
    """A record whose outcome is known, ready to be committed."""

    received: Received
    identity: Identity
    outputs: tuple[Output, ...]
    verdict: str
    """PASS, REJECT or UNINSPECTED where an event says so, else FORWARDED."""
    given_up: Uninspected | None = None
    """Why this stage could not judge the chip."""
    dead_letter: bool = False
    """Whether the record failed, as against having come too late."""

    @property
    def failure(self) -> str | None:
        """What failed, where something did and the record is a dead letter."""
        if self.given_up is None or not self.dead_letter:
            return None
        return f"{self.given_up.reason}: {self.given_up.detail} ({self.received.source})"

    @property
    def shed(self) -> bool:
        """Whether it came too late, which says nothing about the stage."""
        return self.given_up is not None and not self.dead_letter


@dataclass(frozen=True, slots=True)
class Judgement:
    """What became of a batch."""

    settled: tuple[Settled, ...] = ()
    """In the order of the batch."""
    remaining: tuple[Received, ...] = ()
    """Records that nothing can be said about now; they come again."""
    waiting_for: str | None = None
    """Why there are any remaining."""
    due: tuple[Output, ...] = ()
    """What the clock alone made due."""


@dataclass(frozen=True, slots=True)
class _GivenUp:
    """A chip that this stage cannot judge."""

    identity: Identity
    event: Any
    cause: Uninspected
    error: str | None
    """Type of the error; None where there was none and the chip is only late."""
    whole: bool = True
    """Whether the dead letter may carry the record's value."""


class Judge(Generic[E]):
    """Takes a step's view of each batch. Used by one thread."""

    def __init__(
        self,
        step: Step[E],
        codec: EventCodec,
        topics: Topics,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._step = step
        self._codec = codec
        self._topics = topics
        self._clock = clock
        self._due: list[Event] = []  # events of the clock that could not be encoded yet

    def judge(self, batch: Sequence[Received], *, refused: Container[Source] = (), tick: bool = False) -> Judgement:
        """The outcome of each record of a batch.

        `refused` are records whose outcome the broker did not take the last time. Where the step is not ready, what
        needs no step (late chips, malformed records) is settled all the same, as far as each partition's order allows.
        """
        chips = [self._read(received, refused) for received in batch]
        waiting_for: str | None = None
        outcomes: dict[Source, Outcome] = {}
        try:
            fresh = [_ready(chip) for chip in chips if not isinstance(chip, _GivenUp)]
            if fresh:
                outcomes = {record.source: outcome for record, outcome in zip(fresh, self._process(fresh), strict=True)}
        except NotReady as reason:
            waiting_for = str(reason)

        settled: list[Settled] = []
        remaining: list[Received] = []
        blocked: set[int] = set()
        for received, chip in zip(batch, chips, strict=True):
            partition = received.source.partition
            unknown = not isinstance(chip, _GivenUp) and received.source not in outcomes
            if unknown or partition in blocked:
                blocked.add(partition)
                remaining.append(received)
            else:
                settled.append(self._settle(received, chip, outcomes.get(received.source, ())))
        return Judgement(tuple(settled), tuple(remaining), waiting_for, self._tick() if tick else ())

    def _read(self, received: Received, refused: Container[Source]) -> "Record[E] | _GivenUp | NotReady":
        try:
            event: E = self._codec.decode(received.value, self._step.consumes)  # type: ignore[assignment]
        except Uninspectable as error:
            identity = from_headers(
                received.headers, key=received.key, position=str(received.source), timestamp=received.timestamp
            )
            return self._give_up(identity, None, error)
        except NotReady as reason:
            return reason
        identity = identity_of(event)
        if received.source in refused:
            too_large = OutputTooLarge(
                "the broker refused the outcome by its size; compare its limits with topics.yaml"
            )
            return self._give_up(identity, event, too_large, whole=False)
        if self._step.sheds_late_chips and (cause := overdue(identity, self._clock(), self._step.name)):
            return _GivenUp(identity, event, cause, error=None)
        return Record(identity, event, received.source)

    def _process(self, records: Sequence[Record[E]]) -> Sequence[Outcome]:
        """One outcome a record; where the step fails on the batch, it is asked about each record alone."""
        try:
            outcomes = self._step.process(records)
            if len(outcomes) != len(records):
                raise ValueError(f"{len(outcomes)} outcomes for {len(records)} records")  # noqa: TRY301 - as any failure
        except NotReady:
            raise
        except Exception as error:
            log.exception("step_failed", records=[str(record.source) for record in records])
            if len(records) > 1:
                return [self._process([record])[0] for record in records]
            failure = InternalError(f"{type(error).__name__}: {error}")
            failure.__cause__ = error
            return [failure]
        return outcomes

    def _settle(self, received: Received, chip: "Record[E] | _GivenUp | NotReady", outcome: Outcome) -> Settled:
        if isinstance(chip, Record):
            if isinstance(outcome, Uninspectable):
                chip = self._give_up(chip.identity, chip.event, outcome)
            else:
                try:
                    outputs = self._encode(outcome, received.source, chip.identity)
                    return Settled(received, chip.identity, outputs, _verdict(outcome))
                except (OutputTooLarge, UnwritableEvent) as error:
                    chip = self._give_up(chip.identity, chip.event, error)
        assert isinstance(chip, _GivenUp)  # noqa: S101 - judge() keeps back what is neither
        events = self._step.uninspected(chip.identity, received.source, chip.cause, chip.event)
        outputs = self._encode(events, received.source, chip.identity)
        if chip.error is not None:
            outputs += self._dead_letter(received, chip)
        return Settled(received, chip.identity, outputs, _verdict(events), chip.cause, chip.error is not None)

    def _dead_letter(self, received: Received, chip: _GivenUp) -> tuple[Output, ...]:
        def letter(*, whole: bool) -> DeadLetter:
            error, now = chip.error or "", self._clock()
            return dead_letter(received, chip.identity, chip.cause, error=error, now=now, whole=whole)

        try:
            return self._encode([letter(whole=chip.whole)], received.source, chip.identity)
        except OutputTooLarge:
            return self._encode([letter(whole=False)], received.source, chip.identity)

    def _give_up(self, identity: Identity, event: E | None, error: Exception, *, whole: bool = True) -> _GivenUp:
        reason = error.reason if isinstance(error, Uninspectable) else InternalError.reason
        detail = str(error) or type(error).__name__
        if len(detail) > DETAIL_CHARACTERS:
            detail = detail[: DETAIL_CHARACTERS - 1] + "…"
        cause = Uninspected(reason=reason, detail=detail, stage=self._step.name)
        return _GivenUp(identity, event, cause, type(error.__cause__ or error).__name__, whole)

    def _encode(self, events: Iterable[Event], source: Source | None, identity: Identity | None) -> tuple[Output, ...]:
        """Events as records, keyed by their line and with the identity of their chip in the headers."""
        outputs = []
        for event in events:
            topic = self._topics.topic_of(type(event))
            about = identity_of(event) if isinstance(event, ChipEvent) else identity
            output = Output(
                topic=topic.name,
                key=event.line_id.encode(),
                value=self._codec.encode(event),
                headers=to_headers(about) if about else [],
                source=source,
            )
            if output.size > topic.max_message_bytes:
                raise OutputTooLarge(
                    f"{event.SCHEMA} takes {output.size} bytes, topic {topic.name} at most {topic.max_message_bytes} "
                    "(max_message_bytes in schemas/topics.yaml)"
                )
            outputs.append(output)
        return tuple(outputs)

    def _tick(self) -> tuple[Output, ...]:
        """What the clock made due. It fails quietly: verdicts do not stop for an alert."""
        try:
            self._due += self._step.tick(self._clock())
            outputs = self._encode(self._due, None, None)
        except NotReady as reason:
            log.warning("tick_postponed", reason=str(reason))
            return ()
        except Exception:
            log.exception("tick_failed")
            outputs = ()
        self._due.clear()
        return outputs


def _ready(chip: Record[E] | NotReady) -> Record[E]:
    if isinstance(chip, NotReady):
        raise chip
    return chip


def _verdict(events: Sequence[Event]) -> str:
    said = (getattr(event, "verdict", None) for event in events)
    return next((str(verdict) for verdict in said if verdict is not None), "FORWARDED")
