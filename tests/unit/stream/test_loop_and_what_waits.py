"""The loop and partitions whose next record cannot be judged yet: they wait, and no other does."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import KafkaException, TopicPartition

from shared.identity import identity_of, to_headers
from shared.stream import waiting
from shared.stream.errors import OutcomeUnknown, TransactionAborted
from tests.events_of_chips import image_captured
from tests.unit.stream.stage import CODEC, Stage, ids, log_of

FOR_EVER = 10**9


@pytest.fixture(autouse=True)
def tries_in_quick_succession(monkeypatch: pytest.MonkeyPatch) -> None:
    def back_off() -> Iterator[float]:
        while True:
            yield 0.01

    monkeypatch.setattr(waiting, "back_off", back_off)


def once(stage: Stage, holds: Callable[[], bool], then: Callable[[], None]) -> None:
    """Between two polls, as soon as something holds, do what follows."""

    def look() -> None:
        if holds():
            then()
        else:
            stage.consumer.between_polls.append(look)

    stage.consumer.between_polls.append(look)


def held(stage: Stage, *partitions: int) -> Callable[[], bool]:
    return lambda: set(stage.vitals.held) == set(partitions)


def test_a_partition_waits_and_the_others_go_on():
    stage = Stage(log_of(range(10), range(20, 30), range(40, 50)))
    stage.step.lacking["event-23"] = FOR_EVER
    told = []

    def get_ready() -> None:
        told.extend([stage.vitals.not_ready_because(), set(stage.consumer.paused), stage.committed()])
        stage.step.lacking.clear()

    others = set(ids(*range(10), *range(40, 50)))
    once(stage, lambda: others <= set(stage.committed()) and held(stage, 1)(), get_ready)
    stage.run()
    because, paused, before = told
    assert (because, paused) == ("no bank for event-23 (partitions [1] wait)", {1})
    assert [event_id for event_id in before if event_id not in others] == ids(20, 21, 22)
    assert [event_id for event_id in stage.committed() if event_id not in others] == ids(*range(20, 30))
    assert sorted(stage.committed()) == sorted(ids(*range(10), *range(20, 30), *range(40, 50)))
    assert (stage.vitals.held, stage.consumer.paused) == ({}, set())


def test_while_a_partition_waits_nothing_is_worked_on_in_vain():
    stage = Stage(log_of(range(8)))
    stage.step.lacking["event-0"] = 5
    stage.run()
    assert stage.step.batches[:5] == [ids(0, 1, 2, 3), *[ids(0)] * 4]
    assert stage.step.batches[5] == ids(0)
    assert stage.committed() == ids(*range(8))


def test_where_nothing_can_be_judged_every_partition_waits_and_goes_on():
    stage = Stage(log_of(range(8), range(20, 28)))
    stage.step.ready.clear()

    def get_ready() -> None:
        told.append(stage.vitals.not_ready_because())
        stage.step.ready.set()

    told: list[str | None] = []
    once(stage, held(stage, 0, 1), get_ready)
    assert sorted(stage.run()) == sorted(ids(*range(8), *range(20, 28)))
    assert told == ["the toy waits for its test"]
    assert stage.vitals.not_ready_because() == "draining: told to stop"


@pytest.mark.parametrize("change", ["revoke", "lose"])
def test_a_waiting_partition_that_goes_and_comes_back_is_read_from_its_commit(change):
    stage = Stage(log_of(range(10), range(20, 30)))
    stage.step.lacking["event-3"] = FOR_EVER

    def go() -> None:
        getattr(stage.consumer, change)({0})
        told.append(dict(stage.vitals.held))
        stage.consumer.between_polls.append(come_back)

    def come_back() -> None:
        stage.step.lacking.clear()
        stage.consumer.assign({0})

    told: list[dict[int, str]] = []
    once(stage, held(stage, 0), go)
    stage.run()
    assert told == [{}]
    assert [event_id for event_id in stage.committed() if event_id in ids(*range(10))] == ids(*range(10))
    assert sorted(stage.committed()) == sorted(ids(*range(10), *range(20, 30)))


def test_a_waiting_partition_that_is_anothers_makes_no_stage_unready():
    stage = Stage(log_of(range(10), range(20, 30)))
    stage.step.lacking["event-3"] = FOR_EVER
    once(stage, held(stage, 0), lambda: stage.consumer.lose({0}))
    stage.run()
    assert stage.vitals.held == {}
    assert [event_id for event_id in stage.committed() if event_id in ids(*range(20, 30))] == ids(*range(20, 30))


def test_told_to_stop_while_a_partition_waits_nothing_of_what_waits_is_committed():
    stage = Stage(log_of(range(10), range(20, 30)))
    stage.step.lacking["event-3"] = FOR_EVER
    once(stage, lambda: held(stage, 0)() and len(stage.committed()) == 13, stage.stopping.set)
    stage.run()
    assert stage.consumer.committed_offsets == {0: 3, 1: 10}


@pytest.mark.parametrize("failure", [TransactionAborted("aborted"), OutcomeUnknown("the broker went away")])
def test_a_transaction_that_fails_while_a_partition_waits_repeats_and_leaves_out_nothing(failure):
    stage = Stage(log_of(range(10), range(20, 40)))
    stage.step.lacking["event-3"] = FOR_EVER

    def fail() -> None:
        stage.transactions.failures.append(failure)
        once(stage, lambda: not stage.transactions.failures and held(stage, 0)(), stage.step.lacking.clear)

    once(stage, held(stage, 0), fail)
    stage.run()
    for chips in (ids(*range(10)), ids(*range(20, 40))):
        assert [event_id for event_id in stage.committed() if event_id in chips] == chips
    assert len(stage.committed()) == 30


def test_a_chip_that_waits_is_shed_once_it_is_late_and_the_next_ones_are_tried():
    now = datetime.now(UTC)
    late_soon = [
        image_captured(b"p", number, captured_at=now, verdict_by=now + timedelta(seconds=0.4)) for number in range(3)
    ]
    stage = Stage({0: [CODEC.encode(event) for event in late_soon] + log_of([3, 4])[0]})
    stage.consumer.headers = {(0, number): to_headers(identity_of(event)) for number, event in enumerate(late_soon)}
    stage.step.lacking.update({"event-0": FOR_EVER, "event-1": FOR_EVER, "event-3": 2})
    stage.run()
    assert stage.committed() == ids(0, 1, 2, 3, 4)
    assert not any("event-2" in batch and "event-0" not in batch for batch in stage.step.batches)
    assert stage.vitals.held == {}


def test_records_come_again_only_once_the_client_could_be_sent_back():
    stage = Stage(log_of(range(20)))
    stage.step.lacking["event-6"] = 2
    seek, begun = stage.consumer.seek, []

    def refuse_once_begun(place: TopicPartition) -> None:
        begun.append(place.offset)
        if 1 < len(begun) < 5:
            raise KafkaException("erroneous state")
        seek(place)

    stage.consumer.seek = refuse_once_begun
    assert stage.run() == ids(*range(20))
    assert begun == [0, 7, 7, 7, 7]


def test_offsets_are_not_moved_past_what_waits():
    """The client may stand far behind the record that waits."""
    stage = Stage(log_of(range(4), range(20, 60)))
    stage.step.lacking["event-2"] = FOR_EVER
    offsets: list[int] = []

    def get_ready() -> None:
        offsets.append(stage.consumer.committed_offsets[0])
        stage.step.lacking.clear()

    once(stage, lambda: stage.consumer.committed_offsets.get(1) == 40, get_ready)
    stage.run()
    assert offsets == [2]
    assert stage.consumer.position[0] == 4
    assert stage.consumer.committed_offsets == {0: 4, 1: 40}
