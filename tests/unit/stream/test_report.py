import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import REGISTRY

from shared import metrics
from shared.events import Uninspected, UninspectedReason
from shared.identity import Identity
from shared.logs import configure_logs
from shared.settings import LogSettings
from shared.stream import report
from shared.stream.admin import exposition
from shared.stream.record import Received
from shared.stream.settled import Settled
from shared.stream.step import Source


def settled(line: str, verdict: str = "PASS", *, event_id: str = "e", due_in_s: float | None = None, **more) -> Settled:
    now = datetime.now(UTC)
    identity = Identity(
        event_id=event_id,
        chip_id="c",
        line_id=line,
        product="qfn32",
        captured_at=now,
        verdict_by=None if due_in_s is None else now + timedelta(seconds=due_in_s),
    )
    return Settled(Received(Source("images", 0, 0), b"", b"", (), now), identity, (), verdict, **more)


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_what_goes_wrong_stands_at_nought_from_the_start() -> None:
    report.begun("new")
    for name in ("dead_letters", "repeated", "transactions_aborted", "records_expired", "logs_cut_short"):
        assert REGISTRY.get_sample_value(f"chipsieve_{name}_total", {"stage": "new"}) == 0
    too_late = {"stage": "new", "reason": "TOO_LATE"}
    assert REGISTRY.get_sample_value("chipsieve_uninspected_total", too_late) == 0


def test_chips_are_counted_by_verdict_line_and_product() -> None:
    report.committed("counts", [settled("a"), settled("a", "REJECT"), settled("b"), settled("a", "FORWARDED")], 0.01)
    said = {"stage": "counts", "product": "qfn32"}
    assert value("chipsieve_verdicts_total", verdict="PASS", line="a", **said) == 1
    assert value("chipsieve_verdicts_total", verdict="REJECT", line="a", **said) == 1
    assert value("chipsieve_verdicts_total", verdict="PASS", line="b", **said) == 1
    assert value("chipsieve_verdicts_total", verdict="FORWARDED", line="a", **said) == 0


def test_a_chip_that_was_sent_again_counts_as_that_and_as_nothing_else() -> None:
    report.committed("again", [settled("a", "REPEATED", due_in_s=-1, repeated=True)], 0.01)
    of_stage = {
        sample.name: sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.labels.get("stage") == "again" and not sample.name.endswith("_created") and sample.value
    }
    assert of_stage.pop("chipsieve_repeated_total") == 1
    assert {name for name in of_stage if not name.startswith("chipsieve_transaction_seconds")} == set()


def test_a_missed_deadline_counts_whatever_was_said() -> None:
    report.committed("due", [settled("a", due_in_s=-1), settled("a", due_in_s=60), settled("a")], 0.01)
    assert value("chipsieve_deadline_misses_total", stage="due", line="a") == 1


def test_a_picture_from_the_future_has_no_age_that_spoils_the_sum() -> None:
    chip = settled("a")
    fast = replace(chip, identity=replace(chip.identity, captured_at=datetime(2999, 1, 1, tzinfo=UTC)))
    report.committed("ages", [chip, fast], 0.01, at=chip.identity.captured_at + timedelta(seconds=1))
    assert value("chipsieve_chip_age_seconds_sum", stage="ages") == 1
    assert value("chipsieve_chip_age_seconds_count", stage="ages") == 2


def test_a_broker_whose_clock_is_ahead_does_not_spoil_the_sum_of_stage_seconds() -> None:
    chip = settled("a")
    report.committed("waits", [chip], 0.01, at=chip.received.timestamp + timedelta(seconds=2))
    report.committed("waits", [chip], 0.01, at=chip.received.timestamp - timedelta(seconds=1))
    assert value("chipsieve_stage_seconds_sum", stage="waits") == 2
    assert value("chipsieve_stage_seconds_count", stage="waits") == 2


def test_a_lines_last_chip_is_known() -> None:
    before = datetime.now(UTC).timestamp()
    report.committed("last", [settled("a")], 0.01)
    assert before <= value("chipsieve_last_chip_timestamp_seconds", stage="last", line="a")


def test_a_chip_that_came_too_late_is_no_dead_letter_and_one_that_failed_is() -> None:
    for reason, dead_letter in ((UninspectedReason.TOO_LATE, False), (UninspectedReason.INTERNAL_ERROR, True)):
        given_up = Uninspected(reason=reason, detail="why", stage="letters")
        record = settled("a", "UNINSPECTED", given_up=given_up, dead_letter=dead_letter)
        report.committed("letters", [record], 0.0)
        assert value("chipsieve_uninspected_total", stage="letters", reason=str(reason)) == 1
        assert value("chipsieve_dead_letters_total", stage="letters") == dead_letter


def test_a_sender_that_makes_up_lines_does_not_make_up_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "LINES_COUNTED", 3)
    monkeypatch.setattr(metrics, "_pairs", set())
    monkeypatch.setattr(metrics, "_lines", set())
    counted = [metrics.counted_as(f"line-{number}", "p") for number in range(10)]
    assert counted[:3] == [("line-0", "p"), ("line-1", "p"), ("line-2", "p")]
    assert set(counted[3:]) == {("other", "other")}
    assert metrics.counted_as("line-1", "p") == ("line-1", "p")


def test_a_line_keeps_its_name_however_many_products_it_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "LINES_COUNTED", 3)
    monkeypatch.setattr(metrics, "_pairs", set())
    monkeypatch.setattr(metrics, "_lines", set())
    counted = [metrics.counted_as(line, f"p-{number}") for number in range(4) for line in ("a", "b")]
    assert counted[:3] == [("a", "p-0"), ("b", "p-0"), ("a", "p-1")]
    assert counted[3:] == [("b", "other"), ("a", "other"), ("b", "other"), ("a", "other"), ("b", "other")]


def test_a_latency_names_a_chip_behind_it_where_openmetrics_is_spoken() -> None:
    report.committed("exemplary", [settled("a", event_id="4711")], 0.01)
    _, kind, body = exposition("application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    lines = [line for line in body.decode().splitlines() if "chipsieve_stage_seconds_bucket{" in line]
    assert any('stage="exemplary"' in line and '# {event_id="4711"}' in line for line in lines)
    assert 'event_id="4711"' not in exposition("text/plain")[2].decode()


def test_an_id_too_long_for_an_exemplar_is_left_out() -> None:
    report.committed("long", [settled("a", event_id="x" * 500)], 0.01)
    assert value("chipsieve_stage_seconds_count", stage="long") == 1


def test_an_id_that_prometheus_cannot_read_is_left_out() -> None:
    report.committed("unreadable", [settled("a", event_id="raw\0bytes")], 0.01)
    assert value("chipsieve_stage_seconds_count", stage="unreadable") == 1
    assert b"\0" not in exposition("application/openmetrics-text; version=1.0.0")[2]


def test_a_log_line_about_a_chip_carries_its_event_and_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(LogSettings(format="json"))
    cause = Uninspected(reason=UninspectedReason.UNDECODABLE_IMAGE, detail="half", stage="extractor")
    bad = settled("line-7", "UNINSPECTED", event_id="4711", given_up=cause, dead_letter=True)
    report.committed("logs", [bad, settled("line-8", event_id="4712", repeated=True)], 0.01)
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["event"], line["event_id"], line["line_id"]) for line in told] == [
        ("dead_letter", "4711", "line-7"),
        ("chip_repeated", "4712", "line-8"),
    ]
