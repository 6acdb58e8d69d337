from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.stream.batch import BYTES_AHEAD, FULL_BATCH_S, FULL_BATCH_SHARE, USUAL_BATCH, Buffer
from shared.stream.record import Received, next_offsets
from shared.stream.step import Source


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def record(offset: int, partition: int = 0, value: bytes = b"") -> Received:
    return Received(Source("t", partition, offset), None, value, (), datetime(2026, 1, 1, tzinfo=UTC))


def buffer(batch_size: int = 4) -> tuple[Buffer, Clock]:
    clock = Clock()
    return Buffer(batch_size, 0.01, clock=clock), clock


def test_a_batch_is_ready_when_it_is_full():
    waiting, _ = buffer()
    waiting.add(record(offset) for offset in range(5))
    assert [taken.source.offset for taken in waiting.take()] == [0, 1, 2, 3]
    assert waiting.take() == ()


def test_a_batch_is_ready_when_its_first_record_has_lingered():
    waiting, clock = buffer()
    waiting.add([record(0)])
    assert waiting.take() == ()
    clock.now += 0.01
    waiting.add([record(1)])
    assert len(waiting.take()) == 2


def test_where_pictures_come_one_at_a_time_none_waits_for_another():
    waiting, clock = buffer()
    lingered = []
    for offset in range(8):
        waiting.add([record(offset)])
        lingered.append(waiting.fills_in())
        clock.now += waiting.fills_in()
        assert len(waiting.take()) == 1
    assert lingered[:3] == pytest.approx([0.01, 0.005, 0.0025])
    assert lingered[-1] == pytest.approx(0.01 / 16)


def test_a_batch_lingers_longer_again_once_that_gains_records():
    waiting, clock = buffer()
    for offset in range(3):
        waiting.add([record(offset)])
        clock.now += waiting.fills_in()
        waiting.take()
    lingered = []
    for offset in range(4):
        waiting.add([record(offset)])
        lingered.append(waiting.fills_in())
        clock.now += waiting.fills_in()
        waiting.add([record(100 + offset)])
        assert len(waiting.take()) == 2
    assert lingered == pytest.approx([0.00125, 0.0025, 0.005, 0.01])


def test_records_that_waited_for_the_worker_need_not_linger():
    waiting, _ = buffer()
    waiting.add([record(0)], lingered=True)
    assert waiting.fills_in() == 0


def test_records_put_back_come_first_and_at_once():
    waiting, _ = buffer()
    waiting.add([record(2)])
    waiting.put_back([record(0), record(1)])
    assert [taken.source.offset for taken in waiting.take()] == [0, 1, 2]


def test_large_records_leave_no_room_before_many_do():
    waiting, _ = buffer(100)
    waiting.add([record(0, value=bytes(BYTES_AHEAD))])
    assert waiting.room == 0
    waiting.drop()
    assert waiting.room == 2 * USUAL_BATCH


def test_late_records_take_no_place_in_a_batch():
    waiting = Buffer(2, 0.0, is_late=lambda received: received.value == b"late")
    waiting.add(record(offset, value=b"late") for offset in range(300))
    waiting.add(record(offset) for offset in range(300, 310))
    assert [taken.source.offset for taken in waiting.take()] == list(range(302))
    assert [taken.source.offset for taken in waiting.take()] == [302, 303]


def test_a_backlog_of_late_records_is_let_in_by_the_hundred():
    waiting = Buffer(2, 0.0, is_late=lambda received: received.value == b"late")
    assert waiting.room == 4
    waiting.add([record(0, value=b"late")])
    assert waiting.room > 500
    waiting.add(record(offset, value=b"late") for offset in range(1, 2000))
    assert waiting.room == 0
    assert 100 < len(waiting.take()) < 1000


def test_a_batch_holds_what_is_judged_in_about_its_time():
    waiting, _ = buffer(100)
    assert waiting.missing() == USUAL_BATCH
    waiting.note(10, 10 * FULL_BATCH_S / 40)
    assert waiting.missing() == pytest.approx(40, abs=1)
    for _ in range(20):
        waiting.note(40, 40 * FULL_BATCH_S / 25)
    assert waiting.missing() == pytest.approx(25, abs=1)


@given(st.integers(1, 200), st.lists(st.tuples(st.integers(1, 200), st.floats(0, 100), st.floats(0)), max_size=10))
def test_however_long_records_take_a_batch_is_within_its_limits(batch_size, batches):
    waiting, _ = buffer(batch_size)
    for records, seconds, allowed_s in batches:
        waiting.note(records, seconds, allowed_s)
    assert min(USUAL_BATCH, batch_size) <= waiting.missing() <= batch_size


def test_a_batch_takes_no_more_than_a_share_of_the_time_that_its_most_urgent_chip_has():
    waiting, _ = buffer(100)
    waiting.note(10, 10 * FULL_BATCH_S / 80, allowed_s=FULL_BATCH_S / FULL_BATCH_SHARE / 2)
    assert waiting.missing() == pytest.approx(40, abs=1)


def test_only_the_records_of_lost_partitions_are_dropped():
    waiting, clock = buffer()
    waiting.add([record(0, 0), record(0, 1), record(1, 0)])
    assert len(waiting.drop({0})) == 2
    clock.now += 1
    assert [taken.source.partition for taken in waiting.take()] == [1]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 100)), max_size=30))
def test_each_partition_goes_on_after_its_last_record(places):
    following = next_offsets(record(offset, partition) for partition, offset in places)
    assert following.keys() == {partition for partition, _ in places}
    for partition, following_offset in following.items():
        assert following_offset == 1 + max(offset for of, offset in places if of == partition)
