"""Each chip once, and each line counted once: what stages keep of their partitions, over deaths and rebalances."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.cli.line import Line
from services.router.rules_file import load_rules
from services.router.step import RouterStep
from shared.events import AlertKind, AlertRaised, ChipInspected, Event, Uninspected, UninspectedReason, Verdict
from shared.identity import REPLAY_OF, identity_of, to_headers
from shared.stream import notes, service
from shared.stream.errors import ExitStatus
from shared.stream.step import Record, Source
from shared.topics import Topics
from tests.events_of_chips import NOON, image_captured
from tests.kafka_records import Records, lose_dead_members_soon, wait_for
from tests.toy_stage import OnceStep
from tests.toy_workers import Workers

RULES = """
defaults:
  reject_burst: {rejects: 4, chips: 9}
  uninspected_streak: {chips: 2}
lines:
  line-a: {line_silent: {seconds: 1}}
  line-b: {line_silent: {seconds: 1}}
"""


def chips(numbers: Sequence[int], **fields: object) -> list:
    return [image_captured(b"picture", number, line_id=f"line-{number % 5}", **fields) for number in numbers]


def test_a_chip_that_is_sent_again_leads_to_one_record_also_after_a_restart(start, records):
    first = start(OnceStep())
    records.send(chips(range(60)) + chips(range(30, 60)))
    records.wait_for("features", 60)
    first.stop()
    second = start(OnceStep())
    records.send(chips(range(60)) + chips(range(60, 70)))
    forwarded = records.wait_for("features", 70)
    wait_for(lambda: 'chipsieve_repeated_total{stage="toy"} ' in second.ask("/metrics")[1], "the metric")
    assert sorted(event.event_id for event in forwarded) == sorted(f"event-{number}" for number in range(70))
    processed = [event_id for batch in second.step.batches for event_id in batch]
    assert sorted(processed) == sorted(f"event-{number}" for number in range(60, 70))


def test_what_was_settled_is_known_whether_it_was_noted_or_written(start, records, monkeypatch: pytest.MonkeyPatch):
    for note_bytes in (200, 10**6):
        monkeypatch.setattr(notes, "NOTE_BYTES", note_bytes)
        stage = start(OnceStep())
        sent = len(records.committed("features"))
        for first in range(sent, sent + 40, 8):
            records.send(chips(range(first, first + 8)))
            records.wait_for("features", first + 8)
        stage.stop()
    assert records.committed("settled")
    assert records.noted("toy", "settled")
    again = start(OnceStep())
    records.send(chips(range(81)))
    records.wait_for("features", 81)
    assert [event_id for batch in again.step.batches for event_id in batch] == ["event-80"]


def test_a_chip_that_failed_leaves_one_dead_letter_however_often_it_is_sent(start, records):
    start(OnceStep())
    records.send(chips([0], product="poison") * 3 + chips([1]))
    records.send(chips([0], product="poison") + chips([5]))
    records.wait_for("features", 3)
    assert [letter.event_id for letter in records.committed("dead-letters")] == ["event-0"]


def test_a_dead_letter_that_is_sent_back_twice_is_judged_once(start, records, topics):
    start(OnceStep())
    records.send(chips([0], product="poison"))
    records.wait_for("features", 1)
    repaired = image_captured(b"picture", 0, line_id="line-0")
    for _ in range(2):
        headers = [*to_headers(identity_of(repaired)), (REPLAY_OF, b"toy:images:0:0")]
        records.send_bytes("images", records.encode(repaired), b"line-0", headers=headers)
    records.send(chips([5]))
    forwarded = records.wait_for("features", 3)
    assert [(event.event_id, event.uninspected is None) for event in forwarded] == [
        ("event-0", False),
        ("event-0", True),
        ("event-5", True),
    ]


def test_chips_sent_again_while_workers_die_are_judged_once(topics: Topics, tmp_path: Path):
    records = Records(topics)
    lose_dead_members_soon("toy")
    workers = Workers(tmp_path / "workers.log", once=True)
    sent = chips(range(240))
    try:
        for slot in ("0", "1"):
            workers.start(slot)
        for part in range(4):
            records.send(sent[max(0, part * 60 - 40) : part * 60 + 60])
            records.wait_for("features", part * 60 + 20)
            workers.kill(str(part % 2))
            workers.start(str(part % 2))
        records.send(sent)
        forwarded = records.wait_for("features", 240)
    finally:
        workers.stop()
    assert sorted(event.event_id for event in forwarded) == sorted(event.event_id for event in sent)


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    return path


def inspected(line_id: str, number: int, verdict: Verdict) -> ChipInspected:
    cause = Uninspected(reason=UninspectedReason.TOO_LATE, detail="late", stage="extractor")
    return ChipInspected(
        event_id=f"{line_id}/{number}",
        chip_id=f"c{number}",
        line_id=line_id,
        product="qfn32",
        captured_at=NOON,
        verdict=verdict,
        uninspected=cause if verdict is Verdict.UNINSPECTED else None,
        inspected_at=NOON,
    )


def alerts_without_faults(rules: Path, sent: Sequence[ChipInspected]) -> set[str]:
    """The ids of the alerts of a router that nothing happens to."""
    step = RouterStep(load_rules(rules))
    records = [Record(identity_of(event), event, Source("inspections", 0, n)) for n, event in enumerate(sent)]
    outcomes: list[Event] = [event for outcome in step.process(records) for event in outcome]
    return {event.alert_id for event in outcomes if isinstance(event, AlertRaised)}


@pytest.fixture
def routers(topics: Topics, rules: Path, tmp_path: Path) -> Iterator[Line]:
    lose_dead_members_soon("router")
    env = {"CHIPSIEVE_ROUTER__RULES": str(rules), "CHIPSIEVE_STREAM__BATCH_SIZE": "4"}
    with Line(env, tmp_path / "logs", services=["router", "router"]) as line:
        yield line


def test_alerts_and_rejects_are_those_of_a_router_that_never_died(routers: Line, topics: Topics, rules: Path):
    records = Records(topics)
    # Every line has its bursts and streaks, and none of them begins and ends between two deaths.
    kinds = {"p": Verdict.PASS, "r": Verdict.REJECT, "u": Verdict.UNINSPECTED}
    pattern = "prrppruupprrrpppppppppppruprp"
    sent = [
        inspected(f"line-{line}", number, kinds[pattern[(number + 7 * line) % len(pattern)]])
        for number in range(60)
        for line in range(4)
    ]
    rejects = [event for event in sent if event.verdict is not Verdict.PASS]
    for part in range(4):
        records.send(sent[part * 60 : part * 60 + 60])
        so_far = sum(event.verdict is not Verdict.PASS for event in sent[: part * 60 + 20])
        records.wait_for("rejects", so_far)
        victim = routers.services.pop(0)
        victim.process.kill()
        victim.process.wait()
        routers.start("router", worker=victim.log.stem.removeprefix("router-"))
    routed = records.wait_for("rejects", len(rejects))
    for line in range(4):
        of_line = [event.event_id for event in routed if event.line_id == f"line-{line}"]
        assert of_line == [event.event_id for event in rejects if event.line_id == f"line-{line}"]
    raised = [alert.alert_id for alert in records.committed("alerts")]
    assert sorted(raised) == sorted(alerts_without_faults(rules, sent))


def test_a_silence_is_told_once_whichever_router_was_there(topics: Topics, rules: Path, tmp_path: Path):
    lose_dead_members_soon("router")
    records = Records(topics)
    with Line({"CHIPSIEVE_ROUTER__RULES": str(rules)}, tmp_path / "logs", services=["router"]) as line:
        records.send([inspected("line-a", 0, Verdict.PASS)])
        records.wait_for("alerts", 1)
        records.send([inspected("line-b", 0, Verdict.PASS)])
        wait_for(
            lambda: any(b"line-b" in value for value in records.noted("router", "lines")), "the line to be counted"
        )
        for service in list(line.services):
            service.process.kill()
            service.process.wait()
            line.services.remove(service)
        line.start("router")
        # Told by the successor, at a time when it would have told the first silence again.
        told = records.wait_for("alerts", 2)
    assert [(alert.kind, alert.line_id) for alert in sorted(told, key=lambda alert: alert.line_id)] == [
        (AlertKind.LINE_SILENT, "line-a"),
        (AlertKind.LINE_SILENT, "line-b"),
    ]


def test_late_chips_drain_by_the_hundred(start, records, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(notes, "NOTE_BYTES", 0)  # every transaction writes what it settled
    late = datetime.now(UTC) - timedelta(seconds=1)
    records.send(chips(range(600), verdict_by=late, captured_at=late - timedelta(seconds=1)))
    records.send(chips(range(600, 610)))
    stage = start(OnceStep())
    forwarded = records.wait_for("features", 610)
    assert sum(event.uninspected is not None for event in forwarded) == 600
    assert sum(len(batch) for batch in stage.step.batches) == 10
    written = Counter(output.partition() for output in records.committed_messages("settled"))  # one a transaction
    assert 0 < max(written.values()) < 600 / 16


def test_work_slower_than_the_poll_interval_causes_no_rebalance(start, records, monkeypatch: pytest.MonkeyPatch):
    original = service.consumer_config
    monkeypatch.setattr(service, "consumer_config", lambda *a: original(*a) | {"max.poll.interval.ms": 1500})
    step = OnceStep(slow_s=4.0)
    stage = start(step, batch_size=100)
    stage.wait_until_it_owns(6)
    records.send(chips(range(5)))
    records.wait_for("features", 5)
    assert step.forgotten == {}
    assert stage.readiness()["partitions"] == [0, 1, 2, 3, 4, 5]


def test_told_to_stop_under_load_a_stage_leaves_nothing_half_done(start, records):
    first, second = OnceStep(slow_s=0.05), OnceStep()
    stage = start(first)
    records.send(chips(range(400)))
    records.wait_for("features", 50)
    stage.stop()
    start(second)
    records.wait_for("features", 400)
    processed = [event_id for step in (first, second) for batch in step.batches for event_id in batch]
    assert len(processed) == len(set(processed)) == 400


def test_too_many_failures_stop_a_process_which_names_the_first_cause(topics: Topics, tmp_path: Path):
    records = Records(topics)
    workers = Workers(tmp_path / "workers.log", streak=10)
    records.send(chips(range(40), product="poison"))
    workers.start("0")
    status = workers.wait("0")
    assert status == ExitStatus.TOO_MANY_DEAD_LETTERS
    log = (tmp_path / "workers.log").read_text()
    assert "10 records in a row failed, the limit (CHIPSIEVE_STREAM__DEAD_LETTER_STREAK) is 10" in log
    assert "the first because: UNKNOWN_PRODUCT: product poison is unknown" in log
    assert len(records.committed("dead-letters")) < 10
