"""One stage in this process, against the real broker."""

import json
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event as Flag

import certifi
import pytest
from confluent_kafka.admin import AdminClient, NewPartitions
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from shared.events import AlertKind, AlertRaised, UninspectedReason
from shared.identity import MAX_ID_LENGTH
from shared.settings import Settings
from shared.stream.errors import ExitStatus
from shared.stream.input_topic import InputTopic
from shared.wire.codec import PREFIX
from tests.events_of_chips import image_captured
from tests.kafka_records import Records, wait_for
from tests.raw_producer import send_raw
from tests.toy_stage import ToyStep

check = InputTopic.check


def chips(count: int, *, lines: int = 1, **fields: object) -> list:
    return [image_captured(b"picture", number, line_id=f"line-{number % lines}", **fields) for number in range(count)]


def test_every_chip_leads_to_one_record_and_a_lines_chips_keep_their_order(start, records):
    sent = chips(200, lines=7)
    start()
    records.send(sent)
    forwarded = records.wait_for("features", len(sent))
    for line in range(7):
        of_line = [event.event_id for event in forwarded if event.line_id == f"line-{line}"]
        assert of_line == [event.event_id for event in sent if event.line_id == f"line-{line}"]
    assert len(forwarded) == len(sent)


def test_outputs_carry_the_line_as_key_and_the_identity_in_their_headers(start, records):
    (sent,) = chips(1)
    start()
    records.send([sent])
    records.wait_for("features", 1)
    (message,) = records.committed_messages("features")
    assert message.key() == b"line-0"
    assert dict(message.headers())["event_id"] == b"event-0"


def test_a_failed_record_is_a_dead_letter_and_an_uninspected_chip_in_its_place(start, records):
    sent = chips(12)
    sent[5] = image_captured(b"picture", 5, line_id="line-0", product="poison")
    sent[9] = image_captured(b"picture", 9, line_id="line-0", product="bug")
    stage = start()
    records.send(sent)
    forwarded = records.wait_for("features", len(sent))
    assert [event.event_id for event in forwarded] == [event.event_id for event in sent]
    reasons = {event.event_id: event.uninspected.reason for event in forwarded if event.uninspected}
    assert reasons == {"event-5": UninspectedReason.UNKNOWN_PRODUCT, "event-9": UninspectedReason.INTERNAL_ERROR}
    letters = {letter.event_id: letter for letter in records.committed("dead-letters")}
    assert {event_id: letter.error for event_id, letter in letters.items()} == {
        "event-5": "NoSuchProduct",
        "event-9": "ZeroDivisionError",
    }
    originals = {dict(message.headers())["event_id"]: message for message in records.committed_messages("images")}
    letter, original = letters["event-9"], originals[b"event-9"]
    assert (letter.value, letter.key) == (original.value(), original.key())
    assert [(header.name, header.value) for header in letter.headers] == original.headers()
    assert 'chipsieve_dead_letters_total{stage="toy"}' in stage.ask("/metrics")[1]


@pytest.mark.parametrize("garbage", [None, b"", b"text", b"\x00\x7f\xff\xff\xff", b"\x00"])
def test_bytes_that_are_no_event_belong_to_the_chip_that_their_headers_name(start, records, garbage):
    start()
    records.send_bytes("images", garbage, b"line-0", headers=[("event_id", b"event-7"), ("chip_id", b"chip-7")])
    records.send(chips(1))
    of_garbage, after = sorted(records.wait_for("features", 2), key=lambda event: event.uninspected is None)
    assert (of_garbage.event_id, of_garbage.chip_id, of_garbage.line_id) == ("event-7", "chip-7", "line-0")
    assert of_garbage.uninspected.reason is UninspectedReason.MALFORMED_RECORD
    assert after.event_id == "event-0"
    (letter,) = records.committed("dead-letters")
    assert (letter.value or b"", letter.event_id) == (garbage or b"", "event-7")


def test_a_record_without_headers_is_named_by_its_position(start, records):
    start()
    records.send_bytes("images", b"text")
    (event,) = records.wait_for("features", 1)
    assert event.event_id == f"{event.image.topic}:{event.image.partition}:{event.image.offset}"


def test_a_record_with_a_header_whose_name_is_no_text_keeps_key_and_value(start, records, topics):
    images = topics.by_name["images"].name
    start()
    records.send(chips(200, lines=20))  # the interpreter takes another way with what it has done often
    records.wait_for("features", 200)
    send_raw(Settings().kafka.bootstrap_servers, images, b"text", headers=[(b"\xff\xfe", b"x"), (b"chip_id", b"c")])
    records.wait_for("features", 201)
    (letter,) = records.committed("dead-letters")
    assert letter.event_id.startswith(f"{images}:0:")
    assert (letter.value, letter.headers) == (b"text", ())


@pytest.mark.parametrize("milliseconds", [-62_135_596_800_001, -(10**14)])
def test_a_record_from_before_the_year_1_is_of_now(start, records, topics, milliseconds):
    before = datetime.now(UTC).replace(microsecond=0)
    send_raw(Settings().kafka.bootstrap_servers, topics.by_name["images"].name, b"text", timestamp=milliseconds)
    start()
    (event,) = records.wait_for("features", 1)
    assert event.captured_at >= before


def test_a_record_of_anothers_schema_in_the_same_registry_is_malformed(start, records, topics):
    subject = f"anothers-{topics.by_name['images'].name}"
    protobuf = Schema('syntax = "proto3"; message Chip { string id = 1; }', "PROTOBUF")
    with closing(SchemaRegistryClient({"url": Settings().registry.url})) as registry:
        schema_id = registry.register_schema(subject, protobuf)
    records.send_bytes("images", PREFIX.pack(0, schema_id) + b"rest", b"line-0")
    start()
    (event,) = records.wait_for("features", 1)
    assert event.uninspected.reason is UninspectedReason.MALFORMED_RECORD


def test_ids_of_any_length_lead_to_short_ones(start, records):
    records.send_bytes("images", b"text", b"l" * 100_000, headers=[("event_id", b"x" * 4_300_000)])
    start()
    (event,) = records.wait_for("features", 1)
    assert (len(event.event_id), len(event.line_id)) == (MAX_ID_LENGTH, MAX_ID_LENGTH)
    (letter,) = records.committed("dead-letters")
    assert letter.event_id == event.event_id


def test_an_outcome_too_large_for_its_topic_is_a_dead_letter(start, records):
    start()
    records.send([image_captured(b"picture", 0, product="huge")])
    (event,) = records.wait_for("features", 1)
    assert "max_message_bytes" in event.uninspected.detail
    (letter,) = records.committed("dead-letters")
    assert letter.error == "OutputTooLarge"


def test_a_stage_that_is_not_ready_keeps_its_records_and_says_why(start, records):
    step = ToyStep()
    step.ready.clear()
    stage = start(step)
    records.send(chips(40, lines=3))
    wait_for(lambda: len(step.batches) >= 3, "three attempts")
    status, answer = stage.ask("/readyz")
    assert status == 503
    assert json.loads(answer)["because"].startswith("the toy waits for its test")
    assert stage.ask("/healthz")[0] == 200
    assert records.committed("features") == []
    step.ready.set()
    forwarded = records.wait_for("features", 40)
    assert len({event.event_id for event in forwarded}) == len(forwarded) == 40
    wait_for(lambda: stage.readiness()["ready"], "readiness")


def test_a_chip_that_cannot_be_judged_holds_up_its_partition_alone(start, records):
    sent = chips(400, lines=8)
    held_line = sent[160].line_id
    step = ToyStep()
    step.lacking[sent[160].event_id] = 10**9
    stage = start(step)
    records.send(sent)
    (held,) = wait_for(lambda: stage.service.vitals.held, "the partition that waits")
    of_partition = records.lines_of("images", held)
    assert held_line in of_partition
    others = [event.event_id for event in sent if event.line_id not in of_partition]
    assert others, "lines on other partitions"
    wait_for(lambda: {event.event_id for event in records.committed("features")} >= set(others), "the other lines")
    forwarded = [event.event_id for event in records.committed("features") if event.line_id == held_line]
    assert forwarded == [event.event_id for event in sent[:160] if event.line_id == held_line]
    status, answer = stage.ask("/readyz")
    assert (status, json.loads(answer)["because"]) == (503, f"no bank for event-160 (partitions [{held}] wait)")
    waiting = len(records.committed_messages("images")) - len(records.committed_messages("features"))
    lag = f'chipsieve_lag_records{{stage="toy"}} {waiting}.0'
    wait_for(lambda: lag in stage.ask("/metrics")[1], "the lag of the partition that waits")

    step.lacking.clear()
    forwarded = records.wait_for("features", len(sent))
    for line in {event.line_id for event in sent}:
        of_line = [event.event_id for event in forwarded if event.line_id == line]
        assert of_line == [event.event_id for event in sent if event.line_id == line]
    assert len(forwarded) == len(sent)
    wait_for(lambda: stage.readiness()["ready"], "readiness")


def test_deadlines_pass_while_a_stage_is_not_ready(start, records):
    step = ToyStep()
    step.ready.clear()
    start(step)
    deadline = datetime.now(UTC) + timedelta(seconds=1)
    records.send(chips(3, verdict_by=deadline))
    forwarded = records.wait_for("features", 3)
    assert {event.uninspected.reason for event in forwarded} == {UninspectedReason.TOO_LATE}
    assert records.committed("dead-letters") == []


def test_late_chips_are_shed_without_work_or_dead_letter(start, records):
    step = ToyStep()
    start(step)
    late = datetime.now(UTC) - timedelta(seconds=1)
    records.send(chips(5, verdict_by=late))
    forwarded = records.wait_for("features", 5)
    assert {event.uninspected.reason for event in forwarded} == {UninspectedReason.TOO_LATE}
    assert step.batches == []
    assert records.committed("dead-letters") == []


def test_what_the_clock_makes_due_is_committed_without_any_record(start, records):
    step = ToyStep()
    start(step)
    alert = AlertRaised(
        alert_id="a", line_id="line-0", kind=AlertKind.LINE_SILENT, rule="r", message="m", raised_at=datetime.now(UTC)
    )
    step.alerts = [alert]
    assert records.wait_for("alerts", 1)[0].alert_id == "a"


def test_told_to_stop_a_stage_commits_the_batch_in_flight_and_leaves_the_rest(start, records):
    step = ToyStep()
    step.may_go_on.clear()
    stage = start(step, batch_size=4)
    records.send(chips(12))
    wait_for(lambda: step.batches, "a batch in flight")
    assert stage.stop() == ExitStatus.DRAINED
    assert step.closed
    first = len(step.batches[0])
    assert [event.event_id for event in records.committed("features")] == [f"event-{n}" for n in range(first)]
    start()
    assert [event.event_id for event in records.wait_for("features", 12)] == [f"event-{n}" for n in range(12)]


def test_too_many_failures_in_a_row_stop_the_stage_before_that_batch_is_committed(start, records, capfd):
    stage = start(batch_size=4, dead_letter_streak=10, linger_ms=200)
    records.send(chips(30, product="poison"))
    assert stage.join() == ExitStatus.TOO_MANY_DEAD_LETTERS
    assert len(records.committed("dead-letters")) < 10
    assert len(records.committed("features")) == len(records.committed("dead-letters"))


def test_a_second_worker_takes_over_partitions_without_loss_or_repetition(start, records):
    first = start(worker="0")
    first.wait_until_it_owns(6)
    records.send(chips(60, lines=12))
    second = start(worker="1")
    second.wait_until_it_owns(3)
    records.send([image_captured(b"picture", number, line_id=f"line-{number % 12}") for number in range(60, 120)])
    first.stop()
    records.send([image_captured(b"picture", number, line_id=f"line-{number % 12}") for number in range(120, 180)])
    forwarded = records.wait_for("features", 180)
    for line in range(12):
        of_line = [event.event_id for event in forwarded if event.line_id == f"line-{line}"]
        assert of_line == [f"event-{number}" for number in range(180) if number % 12 == line]
    assert len(forwarded) == 180
    assert sum(first.step.forgotten.values()) >= 3


def test_partitions_that_are_added_while_a_stage_runs_are_written_to_at_once(start, records, topics):
    stage = start()
    stage.wait_until_it_owns(6)
    records.send(chips(12, lines=12))
    records.wait_for("features", 12)  # the producer knows its topics as they are
    admin = AdminClient(Settings().kafka.client_config())
    for added in admin.create_partitions([NewPartitions(topic.name, 7) for topic in topics.by_name.values()]).values():
        added.result(timeout=30)
    stage.wait_until_it_owns(7)
    grown = Records(replace(topics, by_name={name: replace(t, partitions=7) for name, t in topics.by_name.items()}))
    chip = image_captured(b"picture", 12, line_id="line-12")
    grown.send_bytes("images", grown.encode(chip), b"line-12", partition=6)
    grown.wait_for("features", 13)  # within a minute: by itself the client looks again every five


def test_a_worker_without_partitions_is_ready_to_take_over(start, topics):
    workers = [start(worker=str(number)) for number in range(7)]
    wait_for(lambda: all(worker.service.admin_port and worker.readiness()["ready"] for worker in workers), "7 workers")
    wait_for(lambda: sorted(len(worker.readiness()["partitions"]) for worker in workers) == [0] + [1] * 6, "a rest")


def test_a_worker_whose_slot_is_taken_ends_and_names_the_slot(start, records, capfd):
    old = start(worker="7")
    old.wait_until_it_owns(6)
    start(worker="7").wait_until_it_owns(3)
    records.send(chips(50, lines=20))
    assert old.join() == ExitStatus.FENCED
    assert len(records.wait_for("features", 50)) == 50


def test_a_file_of_certificates_that_is_emptied_ends_no_stage_that_runs(
    start, records, topics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    authority = tmp_path / "ca.crt"
    authority.write_bytes(Path(certifi.where()).read_bytes())
    monkeypatch.setenv("CHIPSIEVE_KAFKA__SSL_CA_LOCATION", str(authority))
    looked_at = Flag()
    monkeypatch.setattr(InputTopic, "check", lambda check_of: (looked_at.set(), check(check_of)))
    stage = start()
    stage.wait_until_it_owns(topics.by_name["images"].partitions)
    authority.write_text("")
    assert looked_at.wait(30)
    records.send(chips(1))
    records.wait_for("features", 1)
    assert stage.stop() == ExitStatus.DRAINED
