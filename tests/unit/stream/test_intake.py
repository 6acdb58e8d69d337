from typing import Any

import pytest
from typing_extensions import override

from shared.stream.batch import Buffer
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


def intake_of(consumer: Any, linger_s: float) -> Intake:
    """One partition, begun; the buffer's clock stands still."""
    partitions = Partitions(consumer, TOPIC, stage="toy")
    partitions.gain([0])
    partitions.begin(0, 0)
    return Intake(consumer, partitions, Buffer(4, linger_s, clock=lambda: 0.0), Vitals(lambda: None), stage="extractor")


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
