"""What becomes of a batch: decode, shed, process, isolate what fails, encode. Everything the worker thread does.

No Kafka here: bytes in, bytes out.
"""

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

import structlog

from shared.errors import NotReady, Uninspectable
from shared.events import ChipsSettled, DeadLetter, Event
from shared.identity import MAX_ID_LENGTH, ChipEvent, Identity, identity_of, is_whole, overlong, shortened
from shared.stream.dead_letter import Extent
from shared.stream.deadline import NOTHING, overdue
from shared.stream.encoding import Encoder
from shared.stream.errors import InternalError, OutputTooLarge, OverlongIdentity, RecordsNotReady
from shared.stream.giving_up import GivenUp, GivingUp, because_of
from shared.stream.once import SettledChips, digest_of
from shared.stream.recall import Recall
from shared.stream.record import Output, Received
from shared.stream.settled import Judgement, Settled, verdict_of
from shared.stream.step import Outcome, Record, Source, Step
from shared.topics import Topics
from shared.wire.codec import Codec
from shared.wire.errors import MalformedRecord

E = TypeVar("E", bound=ChipEvent)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Repeated:
    """A chip that this stage has dealt with."""

    identity: Identity


class _Behind:
    """A record that can be dealt with only once those before it in its partition are settled."""


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
        codec: Codec,
        topics: Topics,
        *,
        remembered_chips: int = 10_000,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._step = step
        self._codec = codec
        self._encoder = Encoder(codec, topics)
        self._giving_up = GivingUp(step, self._encoder, clock)
        self._clock = clock
        self._settled_chips = SettledChips(step.name, remembered_chips) if step.takes_each_chip_once else None
        self.recalls = _recalls(step, topics, remembered_chips)
        """What `recall` must be given."""
        self.outputs = [
            topics.topic_of(event) for event in (*step.produces, DeadLetter, *(r.event for r in self.recalls))
        ]
        """The topics it may write to."""

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
        """The outcome of each record; `refused` are those whose outcome the broker did not take the last time.

        `needed` is what a chip needs from here to its verdict. A record that cannot be judged now holds up those behind
        it in its partition, and no others; what needs no step (late chips, malformed records) is settled all the same,
        as far as each partition's order allows. What remains without waiting for anything comes again at once.
        """
        chips = self._once_each(batch, [self._read(received, refused, needed) for received in batch])
        outcomes, waiting_for = self._outcomes(batch, chips)
        settled: list[Settled] = []
        remaining: list[Received] = []
        blocked: set[int] = set()
        for received, chip in zip(batch, chips, strict=True):
            partition = received.source.partition
            unknown = not isinstance(chip, GivenUp | _Repeated) and received.source not in outcomes
            if unknown or partition in blocked:
                blocked.add(partition)
                remaining.append(received)
            else:
                settled.append(self._settle(received, chip, outcomes.get(received.source, ())))
        due = self._tick() if tick else ()
        return Judgement(tuple(settled), tuple(remaining), waiting_for, due, self._to_keep(settled))

    def _read(self, received: Received, refused: Container[Source], needed: timedelta) -> "_Chip[E]":
        extent = Extent.WITHOUT_VALUE if received.source in refused else Extent.WHOLE
        try:
            event: E = self._codec.decode(received.value, self._step.consumes)  # type: ignore[assignment]
        except Uninspectable as error:
            return self._give_up(error, received.identity, None, extent)
        except NotReady as reason:
            # The headers tell the deadline too: a late chip waits for no schema.
            return self._late(received.identity, None, needed) or reason
        identity = identity_of(event)
        if not is_whole(identity):
            foreign = MalformedRecord(
                f"the schema that the record names is not that of any {self._step.consumes.SCHEMA}"
            )
            return self._give_up(foreign, received.identity, None, extent)
        if names := overlong(identity):
            long = OverlongIdentity(f"{' and '.join(names)}: more than {MAX_ID_LENGTH} characters; use shorter ids")
            return self._give_up(long, shortened(identity), None, extent)
        if received.source in refused:
            limit = OutputTooLarge("the broker refused the outcome by its size; compare its limits with topics.yaml")
            return self._give_up(limit, identity, event, extent)
        return self._late(identity, event, needed) or Record(identity, event, received.source)

    def _late(self, identity: Identity, event: E | None, needed: timedelta) -> GivenUp | None:
        if self._step.sheds_late_chips and (cause := overdue(identity, self._clock(), self._step.name, needed)):
            return GivenUp(identity, event, cause, error=None)
        return None

    def _once_each(self, batch: Sequence[Received], chips: "Sequence[_Chip[E]]") -> "list[_Chip[E]]":
        """The chips of a batch, those set apart that were dealt with before or come twice in it.

        Whether a chip that is sent back is taken follows from what becomes of it before: where that is in this batch,
        the rest of its partition has to wait.
        """
        if self._settled_chips is None:
            return list(chips)
        once: list[_Chip[E]] = []
        taken: set[tuple[int, bytes]] = set()
        for received, chip in zip(batch, chips, strict=True):
            partition, replayed = received.source.partition, received.replay_of is not None
            if isinstance(chip, NotReady | _Behind):
                once.append(chip)
                continue
            place = partition, digest_of(chip.identity)
            if replayed and place in taken:
                once.append(_Behind())
            elif place in taken or not self._settled_chips.takes(partition, chip.identity, replayed=replayed):
                once.append(_Repeated(chip.identity))
            else:
                taken.add(place)
                once.append(chip)
        return once

    def _outcomes(
        self, batch: Sequence[Received], chips: "Sequence[_Chip[E]]"
    ) -> tuple[dict[Source, Outcome], dict[int, str]]:
        """The step's outcomes by record, and why a partition's next record has none, by partition.

        Whatever stands behind such a record is not shown to the step: it would be judged in vain.
        """
        fresh: list[Record[E]] = []
        waiting_for: dict[int, str] = {}
        blocked: set[int] = set()
        for received, chip in zip(batch, chips, strict=True):
            partition = received.source.partition
            if partition in blocked:
                continue
            if isinstance(chip, Record):
                fresh.append(chip)
            elif isinstance(chip, NotReady):
                waiting_for[partition] = str(chip)
                blocked.add(partition)
            elif isinstance(chip, _Behind):
                blocked.add(partition)
        while fresh:
            try:
                outcomes = self._process(fresh)
            except NotReady as error:
                reasons = error.reasons if isinstance(error, RecordsNotReady) else {}
                held = {record.source for record in fresh} & reasons.keys() or {record.source for record in fresh}
                fresh, first = _before(held, fresh)
                waiting_for |= {source.partition: reasons.get(source, str(error)) for source in first}
            else:
                return {record.source: outcome for record, outcome in zip(fresh, outcomes, strict=True)}, waiting_for
        return {}, waiting_for

    def _process(self, records: Sequence[Record[E]]) -> Sequence[Outcome]:
        """One outcome a record; where the step fails on the batch, it is asked about each record alone."""
        try:
            outcomes = self._step.process(records)
            if len(outcomes) != len(records):
                raise ValueError(f"{len(outcomes)} outcomes for {len(records)} records")  # noqa: TRY301 - as any failure
        except NotReady:
            raise
        except Uninspectable as error:  # of one of them; which, they tell alone
            if len(records) == 1:
                return [error]
        except Exception as error:  # whatever the step stumbles over must not stop the chips beside it
            log.exception("step_failed", records=[str(record.source) for record in records])
            if len(records) == 1:
                failure = InternalError(f"{type(error).__name__}: {error}")
                failure.__cause__ = error
                return [failure]
        else:
            return outcomes
        return [self._process([record])[0] for record in records]

    def _settle(self, received: Received, chip: "_Chip[E]", outcome: Outcome) -> Settled:
        if isinstance(chip, _Repeated):
            return Settled(received, chip.identity, (), "REPEATED", repeated=True)
        if isinstance(chip, Record):
            if isinstance(outcome, Uninspectable):
                chip = self._give_up(outcome, chip.identity, chip.event)
            else:
                try:
                    outputs = self._encoder.following(received, chip.identity, outcome)
                    return Settled(received, chip.identity, outputs, verdict_of(outcome))
                except NotReady:
                    raise
                except Exception as error:  # too large, or what no schema carries, wherever the step had it from
                    chip = self._give_up(error, chip.identity, chip.event)
        assert isinstance(chip, GivenUp)  # noqa: S101 - judge() keeps back what is neither
        return self._giving_up.settle(received, chip)

    def _give_up(self, error: Exception, identity: Identity, event: E | None, extent: Extent = Extent.WHOLE) -> GivenUp:
        return because_of(error, identity, event, stage=self._step.name, extent=extent)

    def _tick(self) -> tuple[Output, ...]:
        """What the clock made due. It fails quietly: neither verdicts nor other alerts stop for an alert."""
        try:
            due = self._step.tick(self._clock())
        except Exception:  # whatever a step's clock stumbles over, chips must go on getting verdicts
            log.exception("tick_failed")
            return ()
        outputs: list[Output] = []
        for partition, events in due.items():
            for event in events:
                try:
                    outputs += self._encoder.aside({partition: [event]})
                except Exception:  # too large, or what no schema carries: this one alone is lost, and the log says so
                    log.exception("due_event_lost", event_type=type(event).__name__, partition=partition)
        return tuple(outputs)

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


_Chip = Record[E] | GivenUp | _Repeated | _Behind | NotReady
"""A record of a batch before the step has seen it."""


def _before(held: Container[Source], records: Sequence[Record[E]]) -> tuple[list[Record[E]], list[Source]]:
    """The records that stand before the first in their partition that is held, and the first held of each."""
    before: list[Record[E]] = []
    first: dict[int, Source] = {}
    for record in records:
        if record.source in held:
            first.setdefault(record.source.partition, record.source)
        elif record.source.partition not in first:
            before.append(record)
    return before, list(first.values())
