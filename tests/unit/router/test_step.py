from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from services.router.rules import Rules
from services.router.step import RouterStep
from shared.events import (
    AlertKind,
    AlertRaised,
    ChipInspected,
    ChipRejected,
    Event,
    ImagePointer,
    LineObserved,
    Region,
    Uninspected,
    UninspectedReason,
    Verdict,
)
from shared.identity import UNKNOWN, Identity, identity_of
from shared.stream.step import EventsByPartition, Forgotten, Record, Source

START = datetime(2026, 1, 1, tzinfo=UTC)
RULES = Rules.model_validate(
    {
        "defaults": {
            "reject_burst": {"rejects": 3, "chips": 5},
            "uninspected_streak": {"chips": 2},
            "line_silent": {"seconds": 30},
        }
    }
)
GARBAGE = Uninspected(reason=UninspectedReason.MALFORMED_RECORD, detail="no ChipInspected", stage="router")


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


class Router(RouterStep):
    """Both of whose clocks go alike: by `clock`, and in a tick by the time that it is given."""

    def __init__(self, rules: Rules, clock: Clock) -> None:
        self._ticks_at: datetime | None = None
        self._chips_at = clock
        super().__init__(rules, clock=clock, steady=self._seconds)

    def _seconds(self) -> float:
        return ((self._ticks_at or self._chips_at()) - START).total_seconds()

    @override
    def tick(self, now: datetime) -> EventsByPartition:
        self._ticks_at = now
        found = super().tick(now)
        self._ticks_at = None
        return found


def inspected(number: int, verdict: Verdict, *, line_id: str = "line-1", partition: int = 0) -> Record[ChipInspected]:
    uninspected = verdict is Verdict.UNINSPECTED
    event = ChipInspected(
        event_id=f"e{number}",
        chip_id=f"c{number}",
        line_id=line_id,
        product="qfn32",
        captured_at=START,
        verdict_by=START + timedelta(seconds=1),
        verdict=verdict,
        uninspected=Uninspected(reason=UninspectedReason.TOO_LATE, detail="late", stage="matcher")
        if uninspected
        else None,
        score=None if uninspected else 4.2,
        threshold=None if uninspected else 3.0,
        defect_kind=None if uninspected else "scratch",
        bank_version="v1",
        regions=(Region(x=1, y=2, width=3, height=4, area=12, peak=0.5),),
        image=ImagePointer(topic="images", partition=1, offset=number, sha256="ab"),
        inspected_at=START,
    )
    return Record(identity_of(event), event, Source("inspections", partition, number))


def events(step: RouterStep, records: Sequence[Record[ChipInspected]]) -> list[Event]:
    flat: list[Event] = []
    for outcome in step.process(records):
        assert isinstance(outcome, Sequence)
        flat += outcome
    return flat


def alerts(found: Sequence[Event]) -> list[tuple[AlertKind, str | None]]:
    return [(event.kind, event.event_id) for event in found if isinstance(event, AlertRaised)]


def router(clock: Clock | None = None) -> RouterStep:
    return Router(RULES, clock or Clock())


def test_a_chip_that_passed_leads_to_nothing() -> None:
    assert events(router(), [inspected(0, Verdict.PASS)]) == []


def test_a_rejected_chip_leaves_with_all_that_is_known_of_it() -> None:
    record = inspected(0, Verdict.REJECT)
    (rejected,) = events(router(), [record])
    assert rejected == ChipRejected(
        **identity_of(record.event).fields(),
        verdict=Verdict.REJECT,
        score=4.2,
        threshold=3.0,
        defect_kind="scratch",
        bank_version="v1",
        regions=record.event.regions,
        image=record.event.image,
        rejected_at=START,
    )


def test_an_uninspected_chip_leaves_with_its_reason() -> None:
    record = inspected(0, Verdict.UNINSPECTED)
    (rejected,) = events(router(), [record])
    assert isinstance(rejected, ChipRejected)
    assert rejected.verdict is Verdict.UNINSPECTED
    assert rejected.uninspected == record.event.uninspected


def test_every_record_has_its_own_outcome_in_order() -> None:
    outcomes = router().process(
        [inspected(0, Verdict.REJECT), inspected(1, Verdict.PASS), inspected(2, Verdict.REJECT)]
    )
    assert [len(outcome) for outcome in outcomes if isinstance(outcome, Sequence)] == [1, 0, 1]


def test_a_record_that_cannot_be_read_leaves_the_line_and_counts() -> None:
    step = router()
    identity = Identity(event_id="inspections:0:7", chip_id="c7", line_id="line-1", product="qfn32", captured_at=START)
    first = step.uninspected(identity, Source("inspections", 0, 7), GARBAGE, None)
    second = step.uninspected(identity, Source("inspections", 0, 8), GARBAGE, None)
    assert [type(event) for event in first] == [ChipRejected]
    assert isinstance(first[0], ChipRejected)
    assert (first[0].verdict, first[0].uninspected) == (Verdict.UNINSPECTED, GARBAGE)
    assert alerts(second) == [(AlertKind.UNINSPECTED_STREAK, "inspections:0:7")]


def test_a_late_chip_is_routed_like_any_other() -> None:
    assert RouterStep.sheds_late_chips is False


def test_lines_are_counted_apart() -> None:
    records = [inspected(number, Verdict.REJECT, line_id=f"line-{number % 2}") for number in range(4)]
    assert alerts(events(router(), records)) == []


def test_a_line_that_falls_silent_is_told_once_by_the_clock() -> None:
    clock = Clock()
    step = router(clock)
    events(step, [inspected(0, Verdict.PASS)])
    assert step.tick(START + timedelta(seconds=29)) == {}
    ((alert,),) = step.tick(START + timedelta(seconds=30)).values()
    assert isinstance(alert, AlertRaised)
    assert alert.alert_id == "LINE_SILENT:line-1:e0"
    assert step.tick(START + timedelta(seconds=31)) == {}


@pytest.mark.parametrize("jump", [timedelta(hours=1), timedelta(hours=-1)])
def test_a_clock_that_jumps_neither_makes_a_silence_nor_hides_one(jump: timedelta) -> None:
    steady = [1000.0]
    step = RouterStep(RULES, clock=Clock(), steady=lambda: steady[0])
    events(step, [inspected(0, Verdict.PASS)])
    steady[0] += 29.9
    assert step.tick(START + jump) == {}
    steady[0] += 0.1
    assert [alert.raised_at for (alert,) in step.tick(START + jump).values()] == [START + jump]


def test_a_backlog_that_is_worked_off_is_no_silence() -> None:
    clock = Clock()
    step = router(clock)
    clock.now = START + timedelta(hours=1)
    events(step, [inspected(0, Verdict.PASS)])  # inspected an hour ago
    assert step.tick(clock.now + timedelta(seconds=1)) == {}


def test_a_partition_that_went_elsewhere_is_forgotten() -> None:
    step = router()
    events(step, [inspected(0, Verdict.REJECT, partition=3), inspected(1, Verdict.REJECT, partition=3)])
    step.forget([3])
    assert step.tick(START + timedelta(hours=1)) == {}
    assert alerts(events(step, [inspected(2, Verdict.REJECT, partition=3)])) == []


def test_a_partition_that_stays_is_remembered_when_another_goes() -> None:
    step = router()
    events(step, [inspected(0, Verdict.REJECT, partition=3), inspected(1, Verdict.REJECT, partition=3)])
    step.forget([4])
    found = alerts(events(step, [inspected(2, Verdict.REJECT, partition=3)]))
    assert found == [(AlertKind.REJECT_BURST, "e2")]


def test_what_is_read_again_counts_once() -> None:
    step = router()
    batch = [inspected(0, Verdict.REJECT), inspected(1, Verdict.REJECT)]
    events(step, batch)
    step.forget([0])  # as the runtime does before it reads a partition again
    assert alerts(events(step, batch)) == []
    assert alerts(events(step, [inspected(2, Verdict.REJECT)])) == [(AlertKind.REJECT_BURST, "e2")]


def successor(*steps: RouterStep, clock: Clock | None = None) -> RouterStep:
    """A router that goes on with what others have written down of partition 0."""
    kept = {event.line_id: event for step in steps for event in step.to_keep().get(0, ())}
    after = router(clock)
    after.recall(0, list(kept.values()))
    return after


def test_of_a_line_that_changed_the_latest_is_written_down_once() -> None:
    step = router()
    events(step, [inspected(number, Verdict.REJECT) for number in range(2)])
    ((kept,),) = step.to_keep().values()
    assert isinstance(kept, LineObserved)
    assert (kept.line_id, kept.event_id, kept.seen, kept.rejects) == ("line-1", "e1", 2, b"\x03")
    assert step.to_keep() == {}


def test_a_successor_counts_on() -> None:
    step = router()
    events(step, [inspected(0, Verdict.REJECT), inspected(1, Verdict.REJECT)])
    found = alerts(events(successor(step), [inspected(2, Verdict.REJECT)]))
    assert found == [(AlertKind.REJECT_BURST, "e2")]


def test_a_successor_does_not_repeat_an_alert() -> None:
    clock = Clock()
    step = router(clock)
    events(step, [inspected(number, Verdict.REJECT) for number in range(3)])
    assert len(step.tick(START + timedelta(seconds=30))) == 1
    after = successor(step, clock=clock)
    assert alerts(events(after, [inspected(3, Verdict.REJECT)])) == []
    assert successor(step, after, clock=clock).tick(START + timedelta(hours=1)) != {}
    silent = router(clock)
    events(silent, [inspected(0, Verdict.PASS)])
    silent.tick(START + timedelta(seconds=30))
    assert successor(silent, clock=clock).tick(START + timedelta(hours=1)) == {}


def test_the_time_in_which_no_router_ran_is_no_silence() -> None:
    clock = Clock()
    step = router(clock)
    events(step, [inspected(0, Verdict.PASS)])
    clock.now += timedelta(hours=1)
    after = successor(step, clock=clock)
    assert after.tick(clock.now + timedelta(seconds=29)) == {}
    assert len(after.tick(clock.now + timedelta(seconds=30))) == 1


@given(
    verdicts=st.lists(st.sampled_from(Verdict), max_size=40),
    deaths=st.sets(st.integers(0, 39)),
)
def test_alerts_are_the_same_however_often_the_router_changes(verdicts: list[Verdict], deaths: set[int]) -> None:
    records = [inspected(number, verdict) for number, verdict in enumerate(verdicts)]
    undisturbed = alerts(events(router(), records))
    step, kept, raised = router(), {}, []
    for number, record in enumerate(records):
        raised += alerts(events(step, [record]))
        kept |= {event.line_id: event for event in step.to_keep().get(0, ())}
        if number in deaths:
            step = router()
            step.recall(0, list(kept.values()))
    assert raised == undisturbed


DAY = timedelta(hours=24)


def test_a_line_that_was_told_of_and_stays_silent_for_a_day_is_forgotten() -> None:
    step = router()
    events(step, [inspected(0, Verdict.PASS), inspected(1, Verdict.PASS, line_id="line-2")])
    step.tick(START + timedelta(seconds=30))
    step.to_keep()
    events(step, [inspected(2, Verdict.PASS, line_id="line-2")])
    step.to_keep()
    assert step.tick(START + DAY - timedelta(seconds=1)) != {}, "line-2 is told of"
    step.to_keep()
    assert step.tick(START + DAY) == {}
    assert step.to_keep() == {0: [Forgotten(LineObserved, "line-1"), Forgotten(LineObserved, "line-2")]}
    assert step.tick(START + 2 * DAY) == {}
    assert step.to_keep() == {}


def test_a_line_is_not_forgotten_before_its_silence_is_told() -> None:
    rules = Rules.model_validate({"defaults": {"line_silent": {"seconds": 48 * 3600}}})
    step = Router(rules, Clock())
    events(step, [inspected(0, Verdict.PASS)])
    assert step.tick(START + DAY) == {}
    assert len(step.tick(START + 2 * DAY)[0]) == 1
    assert step.to_keep()[0][0] != Forgotten(LineObserved, "line-1")
    assert step.tick(START + 2 * DAY + timedelta(seconds=1)) == {}
    assert step.to_keep() == {0: [Forgotten(LineObserved, "line-1")]}


def test_a_line_whose_silence_means_nothing_is_forgotten_too() -> None:
    step = Router(Rules(), Clock())
    events(step, [inspected(0, Verdict.PASS)])
    step.to_keep()
    step.tick(START + DAY)
    assert step.to_keep() == {0: [Forgotten(LineObserved, "line-1")]}


@pytest.mark.parametrize(("rules", "line_id"), [(Rules(), "line-1"), (RULES, UNKNOWN)])
def test_a_line_whose_silence_means_nothing_is_forgotten_though_routers_change(rules: Rules, line_id: str) -> None:
    clock = Clock()
    step = Router(rules, clock)
    events(step, [inspected(0, Verdict.PASS, line_id=line_id)])
    kept = step.to_keep()[0]
    clock.now = START + DAY / 2
    step.forget([0])
    step.recall(0, [event for event in kept if isinstance(event, LineObserved)])
    step.tick(START + DAY)
    assert step.to_keep() == {0: [Forgotten(LineObserved, line_id)]}


def test_a_forgotten_line_that_comes_back_is_a_new_one() -> None:
    clock = Clock()
    step = router(clock)
    events(step, [inspected(n, Verdict.REJECT) for n in range(2)])
    step.tick(START + timedelta(seconds=30))
    step.tick(START + DAY)
    clock.now = START + DAY
    assert alerts(events(step, [inspected(2, Verdict.REJECT)])) == []
    ((kept,),) = step.to_keep().values()
    assert isinstance(kept, LineObserved)
    assert kept.seen == 1


def test_a_told_silence_goes_on_over_a_change_of_routers() -> None:
    clock = Clock()
    step = router(clock)
    events(step, [inspected(0, Verdict.PASS)])
    step.tick(START + timedelta(seconds=30))
    clock.now = START + DAY / 2
    after = successor(step, clock=clock)
    assert after.tick(START + DAY) == {}
    assert after.to_keep() == {0: [Forgotten(LineObserved, "line-1")]}


def test_a_record_that_the_runtime_refused_counts_though_it_could_be_read() -> None:
    step = router()
    refused = Uninspected(reason=UninspectedReason.OTHER, detail="the broker refused the outcome", stage="router")
    found: list[Event] = []
    for number in range(2):
        record = inspected(number, Verdict.PASS)
        found += step.uninspected(record.identity, record.source, refused, record.event)
        step.to_keep()
    assert alerts(found) == [(AlertKind.UNINSPECTED_STREAK, "e1")]


def test_a_record_counts_once_also_where_what_was_said_of_it_did_not_fit() -> None:
    step = router()
    record = inspected(0, Verdict.REJECT)
    events(step, [record])
    step.uninspected(record.identity, record.source, GARBAGE, record.event)
    step.uninspected(record.identity, record.source, GARBAGE, None)
    ((kept,),) = step.to_keep().values()
    assert isinstance(kept, LineObserved)
    assert (kept.seen, kept.streak) == (1, 0)


def test_a_chip_that_is_given_up_after_it_was_read_leaves_with_its_picture() -> None:
    record = inspected(0, Verdict.PASS)
    (rejected,) = router().uninspected(record.identity, record.source, GARBAGE, record.event)
    assert isinstance(rejected, ChipRejected)
    assert rejected.image == record.event.image


def test_what_a_record_set_off_is_known_no_longer_than_its_batch() -> None:
    step = router()
    record = inspected(0, Verdict.UNINSPECTED)
    events(step, [record])
    step.to_keep()
    assert alerts(events(step, [record])) == [(AlertKind.UNINSPECTED_STREAK, "e0")]


def test_an_alert_outlives_that_its_chip_is_given_up() -> None:
    step = router()
    events(step, [inspected(n, Verdict.REJECT) for n in range(2)])
    record = inspected(2, Verdict.REJECT)
    assert alerts(events(step, [record])) == [(AlertKind.REJECT_BURST, "e2")]
    again = step.uninspected(record.identity, record.source, GARBAGE, record.event)
    assert alerts(again) == [(AlertKind.REJECT_BURST, "e2")]
    assert alerts(step.uninspected(record.identity, record.source, GARBAGE, None)) == []
