"""ChipInspected → ChipRejected for what must leave the line, AlertRaised for what people should look at."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from services.router.line_records import from_event, to_event
from services.router.rules import LineState, RoutedChip, Rules, observe, observe_silence
from shared.events import AlertRaised, ChipInspected, ChipRejected, Event, LineObserved, Uninspected, Verdict
from shared.identity import Identity
from shared.stream.step import EventsByPartition, Outcome, Record, Source, Step


class RouterStep(Step[ChipInspected]):
    """Sends out what must leave the line, and watches every line for what a single chip does not show.

    What is known of a line is written down in the transaction of the chips it is known from, and read back when the
    line's partition comes here or is read again: whatever becomes of the process, each chip counts once, and each alert
    is raised once.

    Args:
        rules: when an alert is raised.
        clock: the time (UTC).
    """

    name = "router"
    consumes = ChipInspected
    produces = (ChipRejected, AlertRaised)
    recalls = LineObserved
    # A verdict that comes late is still a verdict: the reject must go out, and it costs no work.
    sheds_late_chips = False

    def __init__(self, rules: Rules, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._rules = rules
        self._clock = clock
        self._lines: dict[int, dict[str, LineState]] = {}  # by partition and line
        self._changed: dict[int, set[str]] = {}  # lines to be written down, by partition

    def process(self, records: Sequence[Record[ChipInspected]]) -> Sequence[Outcome]:
        """A reject for every chip that did not pass, and the alerts it sets off."""
        return [self._route(record) for record in records]

    def uninspected(
        self, identity: Identity, source: Source, cause: Uninspected, event: ChipInspected | None
    ) -> Sequence[Event]:
        """A reject: what cannot even be read did not pass."""
        now = self._clock()
        rejected = ChipRejected(
            **identity.fields(),
            verdict=Verdict.UNINSPECTED,
            uninspected=cause,
            image=event.image if event is not None else None,
            rejected_at=now,
        )
        # A record that could be decoded was observed when it was processed. One that could not counts now, after the
        # others of its batch.
        alerts = self._observe(source, identity, Verdict.UNINSPECTED, now) if event is None else ()
        return (rejected, *alerts)

    def tick(self, now: datetime) -> EventsByPartition:
        """Alerts for the lines that have fallen silent."""
        raised: dict[int, list[Event]] = {}
        for partition, lines in self._lines.items():
            for line_id, before in lines.items():
                after, alerts = observe_silence(before, line_id, now, self._rules)
                if alerts:
                    self._change(partition, line_id, after)
                    raised.setdefault(partition, []).extend(alerts)
        return raised

    def to_keep(self) -> EventsByPartition:
        """The lines that changed, as they are now."""
        changed, self._changed = self._changed, {}
        return {
            partition: [to_event(line_id, self._lines[partition][line_id]) for line_id in sorted(lines)]
            for partition, lines in changed.items()
        }

    def recall(self, partition: int, kept: Sequence[Event]) -> None:
        """Go on with a partition's lines. The time in which nobody looked is not counted as a silence."""
        now = self._clock()
        for event in kept:
            assert isinstance(event, LineObserved)  # noqa: S101 - what this step recalls
            state = from_event(event)
            state = replace(state, latest=replace(state.latest, seen_at=now))
            self._lines.setdefault(partition, {})[event.line_id] = state

    def forget(self, partitions: Sequence[int]) -> None:
        """Their lines are another router's now, or are read again."""
        for partition in partitions:
            self._lines.pop(partition, None)
            self._changed.pop(partition, None)

    def _route(self, record: Record[ChipInspected]) -> Sequence[Event]:
        now = self._clock()
        alerts = self._observe(record.source, record.identity, record.event.verdict, now)
        if record.event.verdict is Verdict.PASS:
            return alerts
        return (_rejected(record.identity, record.event, now), *alerts)

    def _observe(self, source: Source, identity: Identity, verdict: Verdict, now: datetime) -> Sequence[Event]:
        chip = RoutedChip(
            event_id=identity.event_id,
            chip_id=identity.chip_id,
            product=identity.product,
            verdict=verdict,
            seen_at=now,
        )
        before = self._lines.get(source.partition, {}).get(identity.line_id)
        after, alerts = observe(before, identity.line_id, chip, self._rules)
        self._change(source.partition, identity.line_id, after)
        return alerts

    def _change(self, partition: int, line_id: str, state: LineState) -> None:
        self._lines.setdefault(partition, {})[line_id] = state
        self._changed.setdefault(partition, set()).add(line_id)


def _rejected(identity: Identity, event: ChipInspected, now: datetime) -> ChipRejected:
    return ChipRejected(
        **identity.fields(),
        verdict=event.verdict,
        uninspected=event.uninspected,
        score=event.score,
        threshold=event.threshold,
        defect_kind=event.defect_kind,
        bank_version=event.bank_version,
        regions=event.regions,
        image=event.image,
        rejected_at=now,
    )
