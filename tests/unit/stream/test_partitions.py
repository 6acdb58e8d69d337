import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from shared.stream.partitions import LOOKED_UP_AFTER_S, Partitions
from tests.unit.stream.doubles import TOPIC, ConsumerDouble


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def consumer() -> ConsumerDouble:
    return ConsumerDouble({0: [b"chip"] * 40})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def partitions(consumer: ConsumerDouble, clock: Clock) -> Partitions:
    """One partition, begun at offset 10."""
    begun = Partitions(consumer, TOPIC, stage="parts", clock=clock)
    begun.gain([0])
    begun.begin(0, 10)
    begun.seek()
    return begun


def test_each_record_from_where_it_begins_is_taken_once(partitions: Partitions) -> None:
    assert [partitions.takes(0, offset) for offset in (9, 10, 11, 11, 12)] == [False, True, True, False, True]


def test_markers_of_transactions_are_passed_over(partitions: Partitions) -> None:
    assert [partitions.takes(0, offset) for offset in (11, 14)] == [True, True]
    assert partitions.adrift == set()


def test_a_client_that_goes_back_is_sent_on_once(partitions: Partitions, consumer: ConsumerDouble) -> None:
    assert not partitions.takes(0, 3)
    partitions.seek()
    assert consumer.sought == [10, 10]
    assert partitions.takes(0, 10)
    assert partitions.adrift == set()


def test_a_client_that_goes_back_after_it_went_on_is_sent_on_again(partitions: Partitions) -> None:
    for following in (10, 11):
        assert not partitions.takes(0, 3)
        partitions.seek()
        assert partitions.takes(0, following)
    assert partitions.adrift == set()


def test_where_it_goes_back_again_the_log_does_not_have_what_comes_next(partitions: Partitions) -> None:
    assert not partitions.takes(0, 3)
    partitions.seek()
    assert not partitions.takes(0, 3)
    assert (partitions.adrift, partitions.cut_short) == ({0}, set())
    assert not partitions.takes(0, 10), "nothing is taken until it begins anew"


def test_a_client_that_goes_back_long_after_it_began_met_a_log_cut_short(partitions: Partitions, clock: Clock) -> None:
    assert partitions.takes(0, 10)
    clock.now += LOOKED_UP_AFTER_S + 1
    assert not partitions.takes(0, 3)
    assert (partitions.adrift, partitions.cut_short) == ({0}, {0})


def test_records_that_expired_before_they_came_are_told_of_and_counted(
    partitions: Partitions, consumer: ConsumerDouble
) -> None:
    assert partitions.takes(0, 10)
    consumer.first[0] = 15
    with capture_logs() as told:
        assert partitions.takes(0, 15)
        assert partitions.takes(0, 17)
    assert [(line["event"], line["expected"], line["first"]) for line in told] == [("records_expired", 11, 15)]
    assert REGISTRY.get_sample_value("chipsieve_records_expired_total", {"stage": "parts"}) == 4


def test_markers_after_the_last_record_are_committed_with_it(partitions: Partitions, consumer: ConsumerDouble) -> None:
    assert partitions.takes(0, 10)
    consumer.position[0] = 12
    assert partitions.past_markers(0, 11) == 12


def test_what_was_taken_and_is_not_committed_yet_is_not_passed_over(
    partitions: Partitions, consumer: ConsumerDouble
) -> None:
    assert partitions.takes(0, 10)
    assert partitions.takes(0, 12)
    consumer.position[0] = 14
    assert partitions.past_markers(0, 11) == 11


def test_where_the_client_stood_before_a_partition_began_anew_means_nothing(
    partitions: Partitions, consumer: ConsumerDouble
) -> None:
    assert partitions.takes(0, 10)
    partitions.stop([0])
    partitions.begin(0, 10)
    partitions.seek()
    consumer.position[0] = 30
    assert partitions.past_markers(0, 10) == 10


def test_what_is_committed_of_a_partition_adrift_does_not_follow_the_client(
    partitions: Partitions, consumer: ConsumerDouble, clock: Clock
) -> None:
    assert partitions.takes(0, 10)
    clock.now += LOOKED_UP_AFTER_S + 1
    assert not partitions.takes(0, 3)
    consumer.position[0] = 30
    assert partitions.past_markers(0, 11) == 11


def test_a_partition_that_begins_anew_is_adrift_no_more(partitions: Partitions, clock: Clock) -> None:
    clock.now += LOOKED_UP_AFTER_S + 1
    partitions.takes(0, 3)
    partitions.stop([0])
    assert partitions.adrift == partitions.cut_short == set()
    partitions.begin(0, 5)
    partitions.seek()
    assert partitions.takes(0, 5)


def test_nothing_is_taken_of_a_partition_that_is_held_nor_until_it_is_sent_back(
    partitions: Partitions, consumer: ConsumerDouble
) -> None:
    assert [partitions.takes(0, offset) for offset in (10, 11, 12)] == [True, True, True]
    partitions.hold(0, 11)
    assert not partitions.takes(0, 13)
    partitions.resume()
    assert consumer.paused == {0}
    partitions.read_on(0, 12)
    assert not partitions.takes(0, 13), "fetched before it is sent back"
    partitions.resume()
    assert consumer.paused == {0}
    partitions.seek()
    partitions.resume()
    assert (consumer.sought, consumer.paused) == ([10, 12], set())
    assert [partitions.takes(0, offset) for offset in (12, 13)] == [True, True]


def test_what_is_committed_of_a_held_partition_does_not_follow_the_client(
    partitions: Partitions, consumer: ConsumerDouble
) -> None:
    for offset in (10, 11, 12):
        assert partitions.takes(0, offset)
    consumer.position[0] = 13
    partitions.hold(0, 11)
    assert partitions.past_markers(0, 11) == 11
    partitions.read_on(0, 12)
    partitions.seek()
    assert partitions.past_markers(0, 12) == 12
    assert partitions.takes(0, 12)
    assert partitions.past_markers(0, 13) == 13


def test_a_held_partition_that_begins_anew_is_held_no_more(partitions: Partitions, consumer: ConsumerDouble) -> None:
    partitions.hold(0, 10)
    partitions.stop([0])
    partitions.begin(0, 10)
    partitions.seek()
    partitions.resume()
    assert consumer.paused == set()
    assert partitions.takes(0, 10)
