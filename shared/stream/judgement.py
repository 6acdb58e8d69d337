"""What becomes of a batch: decode, shed, process, isolate what fails, encode. Everything the worker thread does.

No Kafka here: bytes in, bytes out.
"""

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

import structlog

from shared.errors import NotReady, Uninspectable
from shared.events import ChipsSettled, DeadLetter, Event, Uninspected, Verdict
from shared.identity import ChipEvent, Identity, identity_of
from shared.stream.dead_letter import dead_letter
from shared.stream.deadline import NOTHING, overdue
from shared.stream.encoding import Encoder, EventCodec
from shared.stream.errors import InternalError, OutputTooLarge
from shared.stream.once import SettledChips, digest_of
from shared.stream.recall import Recall
from shared.stream.record import Output, Received
from shared.stream.step import Outcome, Record, Source, Step
from shared.topics import Topics
from shared.wire.errors import UnwritableEvent

E = TypeVar("E", bound=ChipEvent)

DETAIL_CHARACTERS = 500  # one sentence for people; an exception may carry a whole document

log = structlog.get_logger()


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
    repeated: bool = False
    """Whether it was dropped, because its chip had been dealt with."""

    @property
    def failure(self) -> str | None:
        """What failed, where something did and the record is a dead letter."""
        if self.given_up is None or not self.dead_letter:
            return None
        return f"{self.given_up.reason}: {self.given_up.detail} ({self.received.source})"

    @property
    def says_nothing(self) -> bool:
        """Whether no work went into it: that it came too late or a second time says nothing about the stage."""
        return self.repeated or (self.given_up is not None and not self.dead_letter)

    @property
    def uninspected(self) -> bool:
        """Whether this stage or one before it could not judge the chip."""
        return self.given_up is not None or self.verdict == Verdict.UNINSPECTED


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
    kept: tuple[Output, ...] = ()
    """What the stage must know of its partitions, with all of this done."""


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


@dataclass(frozen=True, slots=True)
class _Repeated:
    """A chip that this stage has dealt with."""

    identity: Identity


class Judge(Generic[E]):
    """Takes a step's view of each batch. Used by one thread.

    Args:
        step: the step.
        codec: reads and writes its events.
        topics: where they go.
        remembered_chips: how many chips a partition are remembered where the step takes each only once.
        clock: the time (UTC).
    """

    def __init__(
        self,
        step: Step[E],
        codec: EventCodec,
        topics: Topics,
        *,
        remembered_chips: int = 10_000,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._step = step
        self._codec = codec
        self._encoder = Encoder(codec, topics)
        self._clock = clock
        self._settled_chips = SettledChips(step.name, remembered_chips) if step.takes_each_chip_once else None
        self.recalls = _recalls(step, topics, remembered_chips)
        self.outputs = [
            topics.topic_of(event) for event in (*step.produces, DeadLetter, *(r.event for r in self.recalls))
        ]
        """The topics it may write to."""
        """What `recall` must be given."""

    def recall(self, partition: int, kept: Mapping[type[Event], Sequence[Any]]) -> None:
        """Begin with a partition: `kept` is what was committed of it, by the events of `recalls`."""
        if self._settled_chips:
            self._settled_chips.recall(partition, kept[ChipsSettled])
        if self._step.recalls:
            self._step.recall(partition, kept[self._step.recalls])

    def forget(self, partitions: Sequence[int]) -> None:
        """Drop what is known of partitions: they go elsewhere, or are read again from the last commit."""
        if self._settled_chips:
            self._settled_chips.forget(partitions)
        self._step.forget(partitions)

    def judge(
        self,
        batch: Sequence[Received],
        *,
        refused: Container[Source] = (),
        needed: timedelta = NOTHING,
        tick: bool = False,
    ) -> Judgement:
        """The outcome of each record of a batch.

        `refused` are records whose outcome the broker did not take the last time, `needed` is what a chip needs from
        here to its verdict. Where the step is not ready, what needs no step (late chips, malformed records) is settled
        all the same, as far as each partition's order allows.
        """
        chips = self._once_each(batch, [self._read(received, refused, needed) for received in batch])
        waiting_for: str | None = None
        outcomes: dict[Source, Outcome] = {}
        try:
            fresh = [_ready(chip) for chip in chips if not isinstance(chip, _GivenUp | _Repeated)]
            if fresh:
                outcomes = {record.source: outcome for record, outcome in zip(fresh, self._process(fresh), strict=True)}
        except NotReady as reason:
            waiting_for = str(reason)

        settled: list[Settled] = []
        remaining: list[Received] = []
        blocked: set[int] = set()
        for received, chip in zip(batch, chips, strict=True):
            partition = received.source.partition
            unknown = not isinstance(chip, _GivenUp | _Repeated) and received.source not in outcomes
            if unknown or partition in blocked:
                blocked.add(partition)
                remaining.append(received)
            else:
                settled.append(self._settle(received, chip, outcomes.get(received.source, ())))
        due = self._tick() if tick else ()
        return Judgement(tuple(settled), tuple(remaining), waiting_for, due, self._to_keep(settled))

    def _read(self, received: Received, refused: Container[Source], needed: timedelta) -> "_Chip[E]":
        try:
            event: E = self._codec.decode(received.value, self._step.consumes)  # type: ignore[assignment]
        except Uninspectable as error:
            return self._give_up(received.identity, None, error)
        except NotReady as reason:
            return reason
        identity = identity_of(event)
        if received.source in refused:
            too_large = OutputTooLarge(
                "the broker refused the outcome by its size; compare its limits with topics.yaml"
            )
            return self._give_up(identity, event, too_large, whole=False)
        if self._step.sheds_late_chips and (cause := overdue(identity, self._clock(), self._step.name, needed)):
            return _GivenUp(identity, event, cause, error=None)
        return Record(identity, event, received.source)

    def _once_each(self, batch: Sequence[Received], chips: "Sequence[_Chip[E]]") -> "list[_Chip[E]]":
        """The chips of a batch, those set apart that were dealt with before or come twice in it."""
        if self._settled_chips is None:
            return list(chips)
        once: list[_Chip[E]] = []
        here: set[tuple[int, bytes]] = set()
        for received, chip in zip(batch, chips, strict=True):
            if isinstance(chip, NotReady):
                once.append(chip)
                continue
            partition, replayed = received.source.partition, received.replay_of is not None
            place = partition, digest_of(chip.identity)
            takes = place not in here and self._settled_chips.takes(partition, chip.identity, replayed=replayed)
            once.append(chip if takes else _Repeated(chip.identity))
            here.add(place)
        return once

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

    def _settle(self, received: Received, chip: "_Chip[E]", outcome: Outcome) -> Settled:
        if isinstance(chip, _Repeated):
            return Settled(received, chip.identity, (), "REPEATED", repeated=True)
        if isinstance(chip, Record):
            if isinstance(outcome, Uninspectable):
                chip = self._give_up(chip.identity, chip.event, outcome)
            else:
                try:
                    outputs = self._encoder.following(received, chip.identity, outcome)
                    return Settled(received, chip.identity, outputs, _verdict(outcome))
                except (OutputTooLarge, UnwritableEvent) as error:
                    chip = self._give_up(chip.identity, chip.event, error)
        assert isinstance(chip, _GivenUp)  # noqa: S101 - judge() keeps back what is neither
        events = self._step.uninspected(chip.identity, received.source, chip.cause, chip.event)
        outputs = self._encoder.following(received, chip.identity, events)
        if chip.error is not None:
            outputs += self._dead_letter(received, chip)
        return Settled(received, chip.identity, outputs, _verdict(events), chip.cause, chip.error is not None)

    def _dead_letter(self, received: Received, chip: _GivenUp) -> tuple[Output, ...]:
        def letter(*, whole: bool) -> DeadLetter:
            error, now = chip.error or "", self._clock()
            return dead_letter(received, chip.identity, chip.cause, error=error, now=now, whole=whole)

        try:
            return self._encoder.following(received, chip.identity, [letter(whole=chip.whole)])
        except OutputTooLarge:
            return self._encoder.following(received, chip.identity, [letter(whole=False)])

    def _give_up(self, identity: Identity, event: E | None, error: Exception, *, whole: bool = True) -> _GivenUp:
        reason = error.reason if isinstance(error, Uninspectable) else InternalError.reason
        detail = str(error) or type(error).__name__
        if len(detail) > DETAIL_CHARACTERS:
            detail = detail[: DETAIL_CHARACTERS - 1] + "…"
        cause = Uninspected(reason=reason, detail=detail, stage=self._step.name)
        return _GivenUp(identity, event, cause, type(error.__cause__ or error).__name__, whole)

    def _tick(self) -> tuple[Output, ...]:
        """What the clock made due. It fails quietly: verdicts do not stop for an alert."""
        try:
            return self._encoder.aside(self._step.tick(self._clock()))
        except Exception:
            log.exception("tick_failed")
            return ()

    def _to_keep(self, settled: Iterable[Settled]) -> tuple[Output, ...]:
        kept = self._encoder.aside(self._step.to_keep())
        if self._settled_chips:
            for record in settled:
                if not record.repeated:
                    partition = record.received.source.partition
                    self._settled_chips.enter(partition, record.identity, uninspected=record.uninspected)
            kept += self._encoder.aside(self._settled_chips.to_keep(self._clock()))
        return kept


def _recalls(step: Step[Any], topics: Topics, remembered_chips: int) -> tuple[Recall, ...]:
    recalls = []
    if step.takes_each_chip_once:
        topic, key = topics.topic_of(ChipsSettled).name, step.name.encode()
        recalls.append(Recall(topic, ChipsSettled, key, latest=remembered_chips, weigh=_chips_in))
    if step.recalls:
        recalls.append(Recall(topics.topic_of(step.recalls).name, step.recalls))
    return tuple(recalls)


def _chips_in(event: Event) -> int:
    return len(event.chips) if isinstance(event, ChipsSettled) else 0


_Chip = Record[E] | _GivenUp | _Repeated | NotReady
"""A record of a batch before the step has seen it."""


def _ready(chip: Record[E] | NotReady) -> Record[E]:
    if isinstance(chip, NotReady):
        raise chip
    return chip


def _verdict(events: Sequence[Event]) -> str:
    said = (getattr(event, "verdict", None) for event in events)
    return next((str(verdict) for verdict in said if verdict is not None), "FORWARDED")
