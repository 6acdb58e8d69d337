"""ChipInspected → ChipRejected for what must leave the line, AlertRaised for what people should look at."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from services.router.rules import LineState, RoutedChip, Rules, observe, observe_silence
from shared.events import ChipInspected, ChipRejected, Event, Uninspected, Verdict
from shared.identity import Identity
from shared.stream.step import Outcome, Record, Source, Step


class RouterStep(Step[ChipInspected]):
    """Sends out what must leave the line, and watches every line for what a single chip does not show.

    What is known of a line lives in this process alone: it begins anew when the line's partition comes here, and when
    the runtime goes back to an earlier record, so that no chip counts twice.

    Args:
        rules: when an alert is raised.
        clock: the time (UTC).
    """

    name = "router"
    consumes = ChipInspected
    # A verdict that comes late is still a verdict: the reject must go out, and it costs no work.
    sheds_late_chips = False

    def __init__(self, rules: Rules, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._rules = rules
        self._clock = clock
        self._lines: dict[int, dict[str, LineState]] = {}  # by partition and line

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

    def tick(self, now: datetime) -> Sequence[Event]:
        """Alerts for the lines that have fallen silent."""
        raised: list[Event] = []
        for lines in self._lines.values():
            for line_id, before in lines.items():
                lines[line_id], alerts = observe_silence(before, line_id, now, self._rules)
                raised += alerts
        return raised

    def revoked(self, partitions: Sequence[int]) -> None:
        """Their lines are another router's now."""
        for partition in partitions:
            self._lines.pop(partition, None)

    def _route(self, record: Record[ChipInspected]) -> Sequence[Event]:
        now = self._clock()
        alerts = self._observe(record.source, record.identity, record.event.verdict, now)
        if record.event.verdict is Verdict.PASS:
            return alerts
        return (_rejected(record.identity, record.event, now), *alerts)

    def _observe(self, source: Source, identity: Identity, verdict: Verdict, now: datetime) -> Sequence[Event]:
        lines = self._lines.setdefault(source.partition, {})
        chip = RoutedChip(
            event_id=identity.event_id,
            chip_id=identity.chip_id,
            product=identity.product,
            verdict=verdict,
            seen_at=now,
        )
        before = lines.get(identity.line_id)
        lines[identity.line_id], alerts = observe(before, identity.line_id, chip, self._rules)
        return alerts


def _rejected(identity: Identity, event: ChipInspected, now: datetime) -> ChipRejected:
    return ChipRejected(
        **identity.fields(),
        verdict=event.verdict,
        uninspected=event.uninspected,
        score=event.score,
        threshold=event.threshold,
        bank_version=event.bank_version,
        regions=event.regions,
        image=event.image,
        rejected_at=now,
    )
