from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError
from typing_extensions import override

from shared.stream.batch import Buffer
from shared.stream.errors import ClientFailed
from shared.stream.intake import Intake
from shared.stream.partitions import Partitions
from shared.stream.vitals import Vitals
from tests.unit.stream.doubles import TOPIC, ConsumerDouble, MessageDouble


class PolledConsumer(ConsumerDouble):
    """Notes how long each poll was to wait."""

    def __init__(self, log: dict[int, list[bytes]]) -> None:
        super().__init__(log)
        self.waits: list[float] = []

    @override
    def consume(self, number: int, timeout_s: float) -> list[MessageDouble]:
        self.waits.append(timeout_s)
        return super().consume(number, timeout_s)


class FailingConsumer(ConsumerDouble):
    """Hands out what went wrong as the client does: as a message."""

    error: KafkaError

    @override
    def consume(self, number: int, timeout_s: float) -> list[Any]:
        return [SimpleNamespace(error=lambda: self.error)]


def intake_of(consumer: Any, linger_s: float, vitals: Vitals | None = None) -> Intake:
    """One partition, begun; the buffer's clock stands still."""
    partitions = Partitions(consumer, TOPIC, stage="toy")
    partitions.gain([0])
    partitions.begin(0, 0)
    buffer = Buffer(4, linger_s, clock=lambda: 0.0)
    return Intake(consumer, partitions, buffer, vitals or Vitals(lambda: None), stage="extractor")


@pytest.mark.parametrize(("linger_s", "wait_s"), [(0.000625, 0.001), (0.0025, 0.003), (0.01, 0.01)])
def test_a_batch_lingers_in_one_poll_though_the_client_knows_only_whole_milliseconds(
    linger_s: float, wait_s: float
) -> None:
    consumer = PolledConsumer({0: [b"chip"]})
    intake = intake_of(consumer, linger_s)
    for _ in range(3):  # sent to where it begins, given the chip, waiting for another
        intake.receive([], held_until=0.0, quick=False)
    assert consumer.waits[-1] == pytest.approx(wait_s)
    assert int(consumer.waits[-1] * 1000) == round(wait_s * 1000)  # as the client cuts it


def test_a_client_that_cannot_go_on_ends_the_stage() -> None:
    consumer = FailingConsumer({0: []})
    consumer.error = KafkaError(KafkaError._FATAL, "fenced", fatal=True)
    with pytest.raises(ClientFailed, match="fenced"):
        intake_of(consumer, 0.01).receive([], held_until=0.0, quick=False)


def test_a_topic_that_may_not_be_read_keeps_the_stage_unready_and_another_error_does_not() -> None:
    consumer, vitals = FailingConsumer({0: []}), Vitals(lambda: None)
    intake = intake_of(consumer, 0.01, vitals)
    consumer.error = KafkaError(KafkaError._TRANSPORT, "connection lost")
    intake.receive([], held_until=0.0, quick=False)
    consumer.error = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, "while a broker starts")
    intake.receive([], held_until=0.0, quick=False)
    assert vitals.no_subscription_because is None
    consumer.error = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "denied")
    intake.receive([], held_until=0.0, quick=False)
    assert "denied" in (vitals.no_subscription_because or "")
