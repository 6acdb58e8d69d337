from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from shared.events import (
    AlertKind,
    AlertRaised,
    DeadLetter,
    Event,
    FeaturesExtracted,
    ImageCaptured,
    UninspectedReason,
)
from shared.identity import MAX_ID_LENGTH, cut, identity_of, to_headers
from shared.stream.errors import RecordsNotReady
from shared.stream.giving_up import DETAIL_CHARACTERS
from shared.stream.judgement import Judge
from shared.stream.record import Received
from shared.stream.step import Source
from shared.topics import load_topics
from shared.wire.codec import PREFIX, Codec
from shared.wire.errors import RegistryUnavailable
from tests.events_of_chips import NOON, image_captured
from tests.registry_double import RegistryInMemory
from tests.toy_stage import NoSuchProduct, OnceStep, ToyStep

TOPICS = load_topics()
REGISTRY = RegistryInMemory()
CODEC = Codec(REGISTRY, TOPICS)
LATE = NOON - timedelta(seconds=1)


def received(event: ImageCaptured, offset: int = 0, partition: int = 0) -> Received:
    headers = tuple(to_headers(identity_of(event)))
    return Received(Source("images", partition, offset), b"line-1", CODEC.encode(event), headers, NOON)


def chips(*products: str, **fields: object) -> list[Received]:
    return [
        received(image_captured(b"picture", number, product=product, **fields), number)
        for number, product in enumerate(products)
    ]


def judge(step: ToyStep | None = None, codec: Codec = CODEC) -> Judge:
    return Judge(step or ToyStep(), codec, TOPICS, clock=lambda: NOON)


def letters(judgement) -> list[DeadLetter]:
    outputs = [output for record in judgement.settled for output in record.outputs if output.topic == "dead-letters"]
    return [CODEC.decode(output.value, DeadLetter) for output in outputs]


def forwarded(record) -> FeaturesExtracted:
    return CODEC.decode(record.outputs[0].value, FeaturesExtracted)


def test_one_failing_record_is_given_up_and_the_others_of_its_batch_are_not():
    step = ToyStep()
    judgement = judge(step).judge(chips("p", "bug", "p"))
    assert [record.verdict for record in judgement.settled] == ["FORWARDED"] * 3
    assert [record.given_up and record.given_up.reason for record in judgement.settled] == [
        None,
        UninspectedReason.INTERNAL_ERROR,
        None,
    ]
    assert [len(batch) for batch in step.batches] == [3, 1, 1, 1]


def test_a_record_by_which_a_step_cannot_judge_its_batch_is_given_up_for_the_reason_that_it_raises():
    class Raising(ToyStep):
        def process(self, records):
            outcomes = super().process(records)
            for outcome in outcomes:
                if isinstance(outcome, NoSuchProduct):
                    raise outcome
            return outcomes

    with capture_logs() as logs:
        judgement = judge(Raising()).judge(chips("p", "poison", "p"))
    assert [record.given_up and record.given_up.reason for record in judgement.settled] == [
        None,
        UninspectedReason.UNKNOWN_PRODUCT,
        None,
    ]
    assert not logs, "a failure that the step foresaw leaves no traceback"


def test_a_dead_letter_is_the_record_whole_with_where_and_why():
    (record,) = chips("poison")
    (letter,) = letters(judge().judge([record]))
    assert letter == DeadLetter(
        dead_letter_id="toy:images:0:0",
        stage="toy",
        topic="images",
        partition=0,
        offset=0,
        key=record.key,
        value=record.value,
        headers=letter.headers,
        reason=UninspectedReason.UNKNOWN_PRODUCT,
        error="NoSuchProduct",
        detail="product poison is unknown",
        event_id="event-0",
        chip_id="chip-0",
        line_id="line-1",
        product="poison",
        failed_at=NOON,
    )
    assert tuple((header.name, header.value) for header in letter.headers) == record.headers


def test_a_record_that_is_no_event_belongs_to_the_chip_in_its_headers():
    (record,) = chips("p")
    (settled,) = judge().judge([replace(record, value=b"text")]).settled
    assert forwarded(settled).event_id == "event-0"
    assert settled.given_up.reason is UninspectedReason.MALFORMED_RECORD


def test_a_record_written_with_anothers_schema_belongs_to_the_chip_in_its_headers():
    class Foreign(Codec):
        def decode(self, data: bytes | None, expect: type) -> object:
            return replace(super().decode(data, expect), line_id=7)

    step = ToyStep()
    (settled,) = judge(step, Foreign(REGISTRY, TOPICS)).judge(chips("p")).settled
    assert settled.given_up.reason is UninspectedReason.MALFORMED_RECORD
    assert (forwarded(settled).line_id, step.batches) == ("line-1", [])


def test_a_chip_whose_ids_are_too_long_is_given_up_under_shorter_ones():
    record = received(image_captured(b"picture", chip_id="x" * (MAX_ID_LENGTH + 1)))
    (settled,) = judge().judge([record]).settled
    assert "chip_id: more than" in settled.given_up.detail
    assert forwarded(settled).chip_id == cut("x" * (MAX_ID_LENGTH + 1))


def test_a_late_chip_costs_no_work_and_leaves_no_dead_letter():
    step = ToyStep()
    (settled,) = judge(step).judge(chips("p", verdict_by=LATE)).settled
    assert forwarded(settled).uninspected.reason is UninspectedReason.TOO_LATE
    assert (step.batches, len(settled.outputs)) == ([], 1)


def test_a_step_may_take_late_chips():
    step = ToyStep()
    step.sheds_late_chips = False
    (settled,) = judge(step).judge(chips("p", verdict_by=LATE)).settled
    assert forwarded(settled).uninspected is None


def test_while_the_step_is_not_ready_only_what_stands_first_in_its_partition_is_settled():
    step = ToyStep()
    step.ready.clear()
    late, on_time = image_captured(b"p", 1, verdict_by=LATE), image_captured(b"p", 2)
    batch = [received(late, 0, 0), received(on_time, 1, 0), received(late, 2, 0), received(on_time, 0, 1)]
    judgement = judge(step).judge(batch)
    assert [record.received for record in judgement.settled] == batch[:1]
    assert list(judgement.remaining) == batch[1:]
    assert judgement.waiting_for == dict.fromkeys((0, 1), "the toy waits for its test")


def test_a_record_that_the_step_is_not_ready_for_holds_up_its_partition_alone():
    step = ToyStep()
    step.lacking["event-1"] = 1
    batch = [
        received(image_captured(b"p", number), offset, partition)
        for number, offset, partition in [(0, 0, 0), (1, 1, 0), (2, 0, 1), (3, 2, 0), (4, 1, 1)]
    ]
    judgement = judge(step).judge(batch)
    assert [record.received for record in judgement.settled] == [batch[0], batch[2], batch[4]]
    assert judgement.remaining == (batch[1], batch[3])
    assert judgement.waiting_for == {0: "no bank for event-1"}
    assert step.batches[-1] == ["event-0", "event-2", "event-4"], "what is held up is not worked on"


def test_of_several_records_that_the_step_is_not_ready_for_the_first_of_each_partition_counts():
    step = ToyStep()
    step.lacking.update({"event-1": 9, "event-2": 9, "event-4": 9})
    batch = [
        received(image_captured(b"p", number), offset, partition)
        for number, offset, partition in [(1, 0, 0), (2, 1, 0), (3, 0, 1), (4, 1, 1)]
    ]
    judgement = judge(step).judge(batch)
    assert [record.received for record in judgement.settled] == [batch[2]]
    assert judgement.waiting_for == {0: "no bank for event-1", 1: "no bank for event-4"}


def test_a_step_that_is_not_ready_for_records_that_it_was_not_given_is_not_ready_for_any():
    step = ToyStep()

    def process(_records: object) -> None:
        raise RecordsNotReady({Source("images", 9, 9): "somebody else's"})

    step.process = process
    batch = chips("p", "p")
    judgement = judge(step).judge(batch)
    assert (judgement.remaining, judgement.waiting_for) == (tuple(batch), {0: "somebody else's"})


@pytest.mark.parametrize("step", [ToyStep(), OnceStep()])
def test_a_schema_that_cannot_be_looked_up_now_holds_up_its_partition_alone(step: ToyStep):
    class NewSchema(Codec):
        def decode(self, data: bytes | None, expect: type) -> object:
            if data == b"of a new schema":
                raise RegistryUnavailable("down")
            return super().decode(data, expect)

    here, behind = chips("p", "p")
    elsewhere = received(image_captured(b"picture", 5), 0, 1)
    batch = [replace(here, value=b"of a new schema"), behind, elsewhere]
    judgement = judge(step, NewSchema(REGISTRY, TOPICS)).judge(batch)
    assert ([record.received for record in judgement.settled], judgement.waiting_for) == ([elsewhere], {0: "down"})
    assert step.batches == [["event-5"]]


@pytest.mark.parametrize("product", ["p", "poison"])
def test_a_registry_that_is_away_for_a_moment_changes_no_outcome(product: str):
    class AwayAtFirst(Codec):
        failures = iter([RegistryUnavailable("down")])

        def encode(self, event: Event) -> bytes:
            for failure in self.failures:
                raise failure
            return super().encode(event)

    judging = judge(codec=AwayAtFirst(REGISTRY, TOPICS))
    with pytest.raises(RegistryUnavailable):
        judging.judge(chips(product))
    assert judging.judge(chips(product)) == judge().judge(chips(product))


def test_while_the_registry_is_away_nothing_is_given_up_and_it_is_asked_once_for_a_batch():
    registry = RegistryInMemory()
    registry.answers = False
    batch = [received(image_captured(b"picture", number), number, number % 4) for number in range(16)]
    judgement = judge(codec=Codec(registry, TOPICS)).judge(batch)
    assert (judgement.settled, judgement.remaining, registry.questions) == ((), tuple(batch), 1)
    assert judgement.waiting_for == dict.fromkeys(range(4), "down")


def test_a_late_chip_does_not_wait_for_a_schema_that_cannot_be_looked_up_now():
    registry = RegistryInMemory()
    codec = Codec(registry, TOPICS)
    codec.prepare()
    registry.answers = False
    late, on_time = image_captured(b"p", 1, verdict_by=LATE), image_captured(b"p", 2)
    of_a_new_schema = PREFIX.pack(0, 4711)
    batch = [replace(received(chip, n), value=of_a_new_schema) for n, chip in enumerate([late, on_time, late])]
    judgement = judge(codec=codec).judge(batch)
    (settled,) = judgement.settled
    assert settled.identity == identity_of(late)
    assert (settled.received, settled.given_up.reason) == (batch[0], UninspectedReason.TOO_LATE)
    assert (judgement.remaining, judgement.waiting_for) == (tuple(batch[1:]), {0: "down"})


def test_a_late_chip_of_a_step_that_takes_them_waits_for_its_schema():
    registry = RegistryInMemory()
    registry.answers = False
    step = ToyStep()
    step.sheds_late_chips = False
    batch = chips("p", verdict_by=LATE)
    assert judge(step, Codec(registry, TOPICS)).judge(batch).remaining == tuple(batch)


def test_an_outcome_larger_than_its_topic_is_given_up():
    (settled,) = judge().judge(chips("huge")).settled
    assert settled.dead_letter
    assert "max_message_bytes" in settled.given_up.detail


def test_a_record_whose_outcome_the_broker_refused_leaves_a_dead_letter_without_its_value():
    batch = chips("p", "p")
    judgement = judge().judge(batch, refused={batch[1].source})
    (letter,) = letters(judgement)
    assert (letter.event_id, letter.value) == ("event-1", None)


@pytest.mark.parametrize("outcomes", [[], [(), ()]])
def test_a_step_that_does_not_answer_for_each_record_has_failed(outcomes):
    step = ToyStep()
    step.process = lambda records: outcomes
    (settled,) = judge(step).judge(chips("p")).settled
    assert settled.given_up.reason is UninspectedReason.INTERNAL_ERROR


def test_a_cause_stays_short_however_long_the_message():
    step = ToyStep()
    step.process = lambda records: [NoSuchProduct("x" * 10_000)]
    (settled,) = judge(step).judge(chips("p")).settled
    assert len(settled.given_up.detail) == DETAIL_CHARACTERS


def test_a_failing_tick_does_not_cost_a_verdict():
    step = ToyStep()

    def tick(now: datetime) -> list:
        raise ZeroDivisionError

    step.tick = tick
    judgement = judge(step).judge(chips("p"), tick=True)
    assert (len(judgement.settled), judgement.due) == (1, ())


def test_an_alert_that_cannot_be_written_does_not_cost_another():
    step = ToyStep()
    alerts = [
        AlertRaised(
            alert_id=alert_id, line_id="l", kind=AlertKind.LINE_SILENT, rule="r", message=message, raised_at=NOON
        )
        for alert_id, message in [("a", "too long" * 200_000), ("b", "no Unicode: \udcff"), ("c", "plain")]
    ]
    step.alerts = alerts
    (due,) = judge(step).judge([], tick=True).due
    assert CODEC.decode(due.value, AlertRaised) == alerts[2]


def test_a_record_keeps_the_time_it_was_produced():
    assert chips("p")[0].timestamp == datetime(2026, 1, 1, 12, tzinfo=UTC)
