from concurrent.futures import Future

from confluent_kafka import KafkaError, KafkaException

from shared.stream.beginning import RETRY_S, Beginnings
from shared.stream.partitions import Partitions
from shared.stream.recall import Past
from tests.unit.stream.doubles import TOPIC, ConsumerDouble

PARTITIONS = range(12)


class BrokerInTrouble:
    """Reads no past as long as it is away; notes when it was asked."""

    def __init__(self) -> None:
        self.now = 100.0
        self.is_away = True
        self.asked: list[tuple[float, int]] = []

    def begin(self, partition: int, *, cut_short: bool = False) -> Future[Past]:
        self.asked.append((self.now, partition))
        future: Future[Past] = Future()
        if self.is_away:
            future.set_exception(KafkaException(KafkaError(KafkaError._TRANSPORT)))
        else:
            future.set_result(Past(7, {}))
        return future


def beginnings(broker: BrokerInTrouble, begun: list[int]) -> Beginnings:
    partitions = Partitions(ConsumerDouble({number: [b"chip"] for number in PARTITIONS}), TOPIC, stage="toy")
    partitions.gain(PARTITIONS)
    made = Beginnings(broker, partitions, lambda number, _past: begun.append(number), clock=lambda: broker.now)
    made.start(PARTITIONS)
    return made


def test_all_partitions_whose_past_could_not_be_read_are_read_again_at_the_same_time() -> None:
    broker, begun = BrokerInTrouble(), []
    awaited = beginnings(broker, begun)
    awaited.go_on()
    broker.is_away = False
    broker.now += RETRY_S / 2
    awaited.go_on()
    assert (len(broker.asked), begun) == (12, [])
    assert awaited.awaited == frozenset(PARTITIONS)
    assert awaited.failure == "Local: Broker transport failure"
    broker.now += RETRY_S / 2
    awaited.go_on()
    assert broker.asked[12:] == [(100.0 + RETRY_S, number) for number in PARTITIONS]
    assert (begun, awaited.awaited, awaited.failure) == (list(PARTITIONS), frozenset(), None)


def test_a_partition_that_is_anothers_is_not_read_again() -> None:
    broker, begun = BrokerInTrouble(), []
    awaited = beginnings(broker, begun)
    awaited.go_on()
    awaited.drop(PARTITIONS)
    broker.now += RETRY_S
    awaited.go_on()
    assert (len(broker.asked), begun, awaited.awaited, awaited.failure) == (12, [], frozenset(), None)
