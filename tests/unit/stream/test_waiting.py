import math
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from shared.stream.record import Received
from shared.stream.step import Source
from shared.stream.vitals import Vitals
from shared.stream.waiting import MOST_REST_S, QUIET_S, Waiting


def record(partition: int, offset: int = 0) -> Received:
    return Received(Source("images", partition, offset), b"line-1", b"chip", (), datetime.now(UTC))


class Waits:
    """What waits, what it tells, and its clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.late: set[Received] = set()
        self.vitals = Vitals(lambda: None)
        self.vitals.opening, self.vitals.group_up, self.vitals.partitions = None, True, frozenset({0, 1})
        self.waiting = Waiting(self.vitals, is_late=self.late.__contains__, clock=lambda: self.now)

    @property
    def seconds(self) -> float:
        """Until the next try."""
        return round(self.waiting.until - self.now, 3)


@pytest.fixture
def waits() -> Waits:
    return Waits()


def test_a_partition_is_tried_again_later_each_time_until_a_chip_of_it_is_judged(waits: Waits) -> None:
    seconds = []
    for offset in range(3):  # those before it were shed
        waits.waiting.hold(record(0, offset), "no bank", tried_s=0.0)
        seconds.append(waits.seconds)
        waits.waiting.read_on(0)
    assert seconds == [0.1, 0.2, 0.5]
    waits.waiting.judged([0])
    waits.waiting.hold(record(0, 3), "no bank", tried_s=0.0)
    assert waits.seconds == 0.1


@pytest.mark.parametrize(("tried_s", "seconds"), [(0.5, 2.0), (6.0, MOST_REST_S)])
def test_what_takes_long_to_try_is_tried_less_often(waits: Waits, tried_s: float, seconds: float) -> None:
    waits.waiting.hold(record(0), "Redis is away", tried_s=tried_s)
    assert waits.seconds == seconds


def test_each_partition_waits_by_itself(waits: Waits) -> None:
    waits.waiting.hold(record(0), "no bank", tried_s=0.0)
    waits.now += 0.08
    waits.waiting.hold(record(1), "no bank", tried_s=0.0)
    assert waits.waiting.due(9) == []
    waits.now += 0.05
    assert [due.source.partition for due in waits.waiting.due(9)] == [0]
    waits.now += 0.1
    assert [due.source.partition for due in waits.waiting.due(9)] == [0, 1]
    assert [due.source.partition for due in waits.waiting.due(1)] == [0]


def test_a_record_that_is_late_is_due_at_once(waits: Waits) -> None:
    waits.waiting.hold(record(0), "no bank", tried_s=60.0)
    waits.late.add(late := record(1))
    waits.waiting.hold(late, "no bank", tried_s=60.0)
    assert waits.waiting.due(9) == [late]


def test_a_stage_says_which_partitions_wait_and_for_what(waits: Waits) -> None:
    waits.waiting.hold(record(0), "no bank of a", tried_s=0.0)
    assert waits.vitals.not_ready_because() == "no bank of a (partitions [0] wait)"
    waits.waiting.hold(record(1), "no bank of b", tried_s=0.0)
    assert waits.vitals.not_ready_because() == "no bank of a (partitions [0] wait); no bank of b (partitions [1] wait)"
    waits.waiting.hold(record(0), "no bank of b", tried_s=0.0)
    assert waits.vitals.not_ready_because() == "no bank of b"
    waits.waiting.drop([0, 1])
    assert waits.vitals.not_ready_because() is None


def test_a_stage_that_sheds_one_chip_after_the_other_is_not_ready_in_between(waits: Waits) -> None:
    waits.waiting.hold(record(0), "no bank", tried_s=0.0)
    waits.waiting.read_on(0)
    waits.now += QUIET_S / 2
    assert (waits.waiting.due(9), waits.waiting.partitions) == ([], frozenset())
    assert waits.vitals.held == {0: "no bank"}
    waits.waiting.hold(record(0, 1), "no bank", tried_s=0.0)
    waits.waiting.read_on(0)
    waits.now += QUIET_S
    assert (waits.waiting.due(9), waits.vitals.held) == ([], {}), "nothing follows"


def test_nothing_is_due_of_what_is_anothers(waits: Waits) -> None:
    waits.waiting.hold(record(0), "no bank", tried_s=0.0)
    waits.waiting.drop()
    waits.now += 60
    assert (waits.waiting.due(9), waits.waiting.until, waits.waiting.partitions) == ([], math.inf, frozenset())


def test_a_reason_is_logged_once_for_all_partitions(waits: Waits) -> None:
    with capture_logs() as logs:
        for attempt in range(2):
            for partition in (0, 1):
                waits.waiting.hold(record(partition), f"no bank, attempt {attempt}", tried_s=0.0)
        waits.waiting.judged([0])
        assert [line["event"] for line in logs] == ["waiting"]
        waits.waiting.judged([1])
    assert [line["event"] for line in logs] == ["waiting", "going_on"]
