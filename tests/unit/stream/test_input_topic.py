"""A topic that was created anew under its name: found by its id, and not for want of an answer."""

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AclOperation

from shared.stream.errors import ClientFailed
from shared.stream.input_topic import InputTopic


class Broker:
    """What it says of the topic: its id, or nothing where there is none."""

    def __init__(self) -> None:
        self.id: str | None = "first"
        self.allows: list[AclOperation] | None = [AclOperation.READ, AclOperation.DESCRIBE]
        self.clients = 0

    def new_admin(self) -> Any:
        self.clients += 1
        return self

    def describe_topics(self, _topics: object, **_options: object) -> dict[str, Future[Any]]:
        described: Future[Any] = Future()
        if self.id is None:
            described.set_exception(KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)))
        else:
            described.set_result(SimpleNamespace(topic_id=self.id, authorized_operations=self.allows))
        return {"images": described}


def test_a_topic_that_was_created_anew_ends_the_stage() -> None:
    broker = Broker()
    topic = InputTopic(broker.new_admin, "images")
    assert [topic.check(), topic.check()] == [True, True]
    broker.id = None  # deleted
    assert not topic.check()
    broker.id = "second"
    with pytest.raises(ClientFailed, match=r"images was deleted and created anew.*first.*second.*start this process"):
        topic.check()


def test_a_topic_that_may_not_be_read_is_not_taken_for_one_that_is_read() -> None:
    broker = Broker()
    topic = InputTopic(broker.new_admin, "images")
    broker.allows = [AclOperation.DESCRIBE]
    assert not topic.check()
    for broker.allows in ([AclOperation.READ, AclOperation.DESCRIBE], None):
        assert topic.check()


def test_a_topic_that_could_not_be_asked_for_at_first_is_known_from_its_first_answer() -> None:
    broker = Broker()
    broker.id = None
    topic = InputTopic(broker.new_admin, "images")
    topic.check()
    broker.id = "first"
    topic.check()
    broker.id = "second"
    with pytest.raises(ClientFailed):
        topic.check()


def test_a_client_that_got_no_answer_is_not_asked_again() -> None:
    broker = Broker()
    topic = InputTopic(broker.new_admin, "images")
    for broker.id in ("first", "first", None, "first", "first"):
        topic.check()
    assert broker.clients == 2
