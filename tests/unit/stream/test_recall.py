import gc
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import OffsetSpec

from shared.events import ChipsSettled
from shared.stream.recall import PastReader, Recall
from shared.wire.errors import RegistryUnavailable
from tests.unit.stream.doubles import TOPIC, MessageDouble

RECORDS = 5


class ConsumerDouble:
    """Has the same records in each partition, and notes what it is given and what is taken from it, and by whom."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def committed(self, places: list[TopicPartition], timeout_s: float) -> list[TopicPartition]:
        return places

    def assign(self, places: list[TopicPartition]) -> None:
        self.calls.append(("assign", threading.current_thread().name))

    def consume(self, number: int, timeout_s: float) -> list[MessageDouble]:
        return [MessageDouble(0, offset, b"kept", key=b"toy") for offset in range(RECORDS)]

    def unassign(self) -> None:
        self.calls.append(("unassign", threading.current_thread().name))

    def close(self) -> None:
        pass


class AdminDouble:
    """Says where a log begins and ends."""

    def list_offsets(self, asked: dict[TopicPartition, OffsetSpec], **_: Any) -> dict[TopicPartition, Future[Any]]:
        answers: dict[TopicPartition, Future[Any]] = {place: Future() for place in asked}
        for place, spec in asked.items():
            is_latest = isinstance(spec, type(OffsetSpec.latest()))
            answers[place].set_result(SimpleNamespace(offset=RECORDS if is_latest else 0))
        return answers


class RegistryAway:
    """As the codec is while the registry is away."""

    def decode(self, data: bytes | None, expect: type) -> object:
        raise RegistryUnavailable("down")


@pytest.fixture
def collected_later() -> Iterator[None]:
    """Nothing that refers to itself is collected while the test runs, as it may be at any time, on any thread."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("collected_later")
@pytest.mark.parametrize("latest", [None, 10])
def test_a_reading_whose_records_cannot_be_decoded_is_over_before_it_fails(latest: int | None) -> None:
    consumer = ConsumerDouble()
    recall = Recall("settled", ChipsSettled, key=b"toy", latest=latest)
    reader = PastReader(
        lambda: consumer, AdminDouble, stage="toy", topic=TOPIC, recalls=[recall], codec=RegistryAway(), again=100
    )
    assert isinstance(reader.begin(0).exception(10), RegistryUnavailable)
    assert [name for name, _ in consumer.calls] == ["assign", "unassign"]
    assert len({thread for _, thread in consumer.calls}) == 1, "else it ends another partition's reading"
    reader.close()
