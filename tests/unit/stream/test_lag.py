from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from shared.stream.lag import ASK_S, Lag

TOPIC = "images"


def statistics(**ends: int) -> dict[str, Any]:
    """What the client tells of partitions, by `of_0` and so on; of the unknown one as well, as it does."""
    partitions = {name.removeprefix("of_"): {"ls_offset": end, "app_offset": -1001} for name, end in ends.items()}
    return {"topics": {TOPIC: {"partitions": partitions | {"-1": {"ls_offset": -1001, "app_offset": -1001}}}}}


class Broker:
    """Answers as late as the test likes; counts the clients that are made and the questions they ask."""

    def __init__(self) -> None:
        self.now = 100.0
        self.clients = 0
        self.questions: list[dict[int, Future[Any]]] = []
        self.lag = Lag(self.new_admin, TOPIC, clock=lambda: self.now)

    def new_admin(self) -> Any:
        self.clients += 1
        return SimpleNamespace(list_offsets=self._list_offsets)

    def _list_offsets(self, places: dict[TopicPartition, Any], **_: Any) -> dict[TopicPartition, Future[Any]]:
        answers: dict[TopicPartition, Future[Any]] = {place: Future() for place in places}
        self.questions.append({place.partition: answer for place, answer in answers.items()})
        return answers

    def answer(self, **ends: int) -> None:
        """The latest question, by `of_0` and so on."""
        for name, end in ends.items():
            self.questions[-1][int(name.removeprefix("of_"))].set_result(SimpleNamespace(offset=end))


@pytest.fixture
def broker() -> Broker:
    return Broker()


def test_lag_is_what_is_committed_and_not_taken_in_the_partitions_that_are_read(broker: Broker) -> None:
    told = statistics(of_0=100, of_1=100, of_2=-1001, of_3=1000)
    assert broker.lag.measured(told, {0: 90, 1: 100, 2: 7}, ()) == 10
    assert broker.lag.measured({"topics": {}}, {0: 0}, ()) == 0
    assert broker.clients == 0, "what is fetched tells its end"


def test_markers_that_the_client_has_passed_over_do_not_wait(broker: Broker) -> None:
    told = statistics(of_0=108, of_1=108)
    told["topics"][TOPIC]["partitions"]["0"]["app_offset"] = 108
    assert broker.lag.measured(told, {0: 90, 1: 100}, ()) == 8
    assert broker.lag.measured(told, {0: 90, 1: 100}, {0}) == 26, "what is paused was given back"


def test_the_broker_is_asked_for_the_ends_of_what_is_paused_and_never_waited_for(broker: Broker) -> None:
    told = statistics(of_0=100, of_1=100)
    assert broker.lag.measured(told, {0: 100, 1: 90}, {0, 5}) == 10
    assert list(broker.questions[0]) == [0], "not of partitions that are not read"
    broker.now += 10 * ASK_S
    assert broker.lag.measured(told, {0: 100, 1: 90}, {0}) == 10
    broker.answer(of_0=327)
    assert broker.lag.measured(told, {0: 100, 1: 90}, {0}) == 237
    assert len(broker.questions) == 2


def test_the_broker_is_asked_seldom(broker: Broker) -> None:
    for _ in range(5):
        broker.lag.measured(statistics(of_0=100), {0: 100}, {0})
        if not broker.questions[-1][0].done():
            broker.answer(of_0=200)
        broker.now += ASK_S / 4
    assert len(broker.questions) == 2


def test_what_is_fetched_again_tells_its_end_itself(broker: Broker) -> None:
    broker.lag.measured(statistics(of_0=100), {0: 100}, {0})
    broker.answer(of_0=327)
    assert broker.lag.measured(statistics(of_0=100), {0: 100}, {0}) == 227
    assert broker.lag.measured(statistics(of_0=330), {0: 327}, ()) == 3


def test_a_broker_that_was_away_is_asked_by_another_client(broker: Broker) -> None:
    broker.lag.measured(statistics(of_0=100), {0: 100}, {0})
    broker.questions[0][0].set_exception(KafkaException(KafkaError(KafkaError._TRANSPORT)))
    assert broker.lag.measured(statistics(of_0=100), {0: 100}, {0}) == 0
    broker.now += ASK_S
    broker.lag.measured(statistics(of_0=100), {0: 100}, {0})
    assert broker.clients == 2


def test_a_client_that_cannot_be_made_now_is_made_the_next_time(broker: Broker) -> None:
    made = broker.new_admin
    refused = [KafkaException(KafkaError(KafkaError._INVALID_ARG))]

    def new_admin() -> Any:
        if refused:
            raise refused.pop()
        return made()

    lag = Lag(new_admin, TOPIC, clock=lambda: broker.now)
    for asked in (0, 1):
        lag.measured(statistics(of_0=100), {0: 90}, {0})
        assert len(broker.questions) == asked
        broker.now += ASK_S
