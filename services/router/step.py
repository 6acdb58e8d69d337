"""ChipInspected → ChipRejected for what must leave the line, AlertRaised for what people should look at."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from typing_extensions import override

from services.router.line_records import from_event, to_event
from services.router.rules import LineState, RoutedChip, Rules, is_awaited, is_over, observe, observe_silence
from shared.events import AlertRaised, ChipInspected, ChipRejected, Event, LineObserved, Uninspected, Verdict
from shared.identity import Identity
from shared.stream.step import EventsByPartition, Forgotten, Kept, Outcome, Record, Source, Step


class RouterStep(Step[ChipInspected]):
    """Sends out what must leave the line, and watches every line for what a single chip does not show.

    What is known of a line is written down in the transaction of the chips it is known from, and read back when the
    line's partition comes here or is read again: whatever becomes of the process, each chip counts once, and each alert
    is raised once.

    Args:
        rules: when an alert is raised.
        clock: the time (UTC).
        steady: seconds by a clock that is never set: how long lines are silent must not hang on the other.
    """

    name = "router"
    consumes = ChipInspected
    produces = (ChipRejected, AlertRaised)
    recalls = LineObserved
    # A verdict that comes late is still a verdict: the reject must go out, and it costs no work.
    sheds_late_chips = False

    def __init__(
        self,
        rules: Rules,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rules = rules
        self._clock = clock
        self._steady = steady
        self._lines: dict[int, dict[str, LineState]] = {}  # by partition and line
        self._changed: dict[int, set[str]] = {}  # lines to be written down or off, by partition
        self._observed: dict[Source, Sequence[AlertRaised]] = {}  # the records of this batch, and what they set off

    @override
    def process(self, records: Sequence[Record[ChipInspected]]) -> Sequence[Outcome]:
        """A reject for every chip that did not pass, and the alerts it sets off."""
        return [self._route(record) for record in records]

    @override
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
        # A record that `process` has not seen counts now, after the others of its batch. Where what was said of one did
        # not fit, this is asked again without the event: an alert that may be what did not fit is left out then.
        again = event is None and source in self._observed
        alerts = () if again else self._observe(source, identity, Verdict.UNINSPECTED, now)
        return (rejected, *alerts)

    @override
    def tick(self, now: datetime) -> EventsByPartition:
        """Alerts for the lines that have fallen silent; lines that have been for a day are forgotten."""
        raised: dict[int, list[Event]] = {}
        steady = self._steady()
        for partition, lines in self._lines.items():
            for line_id, before in list(lines.items()):
                after, alerts = observe_silence(before, line_id, now, self._rules, steady=steady)
                if alerts:
                    self._change(partition, line_id, after)
                    raised.setdefault(partition, []).extend(alerts)
                elif is_over(before, line_id, now, self._rules):
                    del lines[line_id]
                    self._changed.setdefault(partition, set()).add(line_id)
        return raised

    @override
    def to_keep(self) -> Kept:
        """The lines that changed, as they are now; of a line that was forgotten nothing."""
        changed, self._changed = self._changed, {}
        self._observed.clear()  # the batch ends here
        return {
            partition: [self._kept(partition, line_id) for line_id in sorted(lines)]
            for partition, lines in changed.items()
        }

    @override
    def recall(self, partition: int, kept: Sequence[Event]) -> None:
        """Go on with a partition's lines. The time in which nobody looked is not counted as a silence.

        Where a line's silence was told before, or means nothing, it goes on: else no line would be forgotten where
        routers change daily.
        """
        now, steady = self._clock(), self._steady()
        for event in kept:
            assert isinstance(event, LineObserved)  # noqa: S101 - what this step recalls
            state = from_event(event)
            if is_awaited(state, event.line_id, self._rules):
                state = replace(state, latest=replace(state.latest, seen_at=now, heard=steady))
            self._lines.setdefault(partition, {})[event.line_id] = state

    @override
    def forget(self, partitions: Sequence[int]) -> None:
        """Their lines are another router's now, or are read again."""
        for partition in partitions:
            self._lines.pop(partition, None)
            self._changed.pop(partition, None)
        for source in [source for source in self._observed if source.partition in partitions]:
            del self._observed[source]

    def _route(self, record: Record[ChipInspected]) -> Sequence[Event]:
        now = self._clock()
        alerts = self._observe(record.source, record.identity, record.event.verdict, now)
        if record.event.verdict is Verdict.PASS:
            return alerts
        return (_rejected(record.identity, record.event, now), *alerts)

    def _observe(self, source: Source, identity: Identity, verdict: Verdict, now: datetime) -> Sequence[AlertRaised]:
        """What a record sets off; it counts once, also where its chip is given up after it was routed."""
        if source in self._observed:
            return self._observed[source]
        chip = RoutedChip(
            event_id=identity.event_id,
            chip_id=identity.chip_id,
            product=identity.product,
            verdict=verdict,
            seen_at=now,
            heard=self._steady(),
        )
        before = self._lines.get(source.partition, {}).get(identity.line_id)
        after, alerts = observe(before, identity.line_id, chip, self._rules)
        self._change(source.partition, identity.line_id, after)
        self._observed[source] = alerts
        return alerts

    def _kept(self, partition: int, line_id: str) -> LineObserved | Forgotten:
        state = self._lines.get(partition, {}).get(line_id)
        return Forgotten(LineObserved, line_id) if state is None else to_event(line_id, state)

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
