import threading
from typing import cast

import pytest

from services.gateway.producer import ImageProducer
from services.gateway.service import GatewayVitals
from shared.stream.admin import healthz


class ProducerDouble:
    fatal_error: str | None = None

    def not_ready_because(self) -> str | None:
        return self.fatal_error


@pytest.fixture
def producer() -> ProducerDouble:
    return ProducerDouble()


@pytest.fixture
def stopping() -> threading.Event:
    return threading.Event()


@pytest.fixture
def vitals(producer: ProducerDouble, stopping: threading.Event) -> GatewayVitals:
    return GatewayVitals(cast("ImageProducer", producer), stopping)


def ended() -> threading.Thread:
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    return thread


def test_a_gateway_without_a_watched_folder_is_alive_while_its_producer_is(
    vitals: GatewayVitals, producer: ProducerDouble
) -> None:
    assert vitals.dead_because() is None
    producer.fatal_error = "the Kafka producer failed for good"
    assert vitals.dead_because() == producer.fatal_error


def test_a_gateway_is_alive_while_its_folder_is_watched(vitals: GatewayVitals, stopping: threading.Event) -> None:
    vitals.watching = threading.Thread(target=stopping.wait)
    vitals.watching.start()
    assert vitals.dead_because() is None
    stopping.set()
    vitals.watching.join()
    assert vitals.dead_because() is None


def test_a_gateway_whose_watch_has_ended_by_itself_is_to_be_restarted(vitals: GatewayVitals) -> None:
    vitals.watching = ended()
    status, _, body = healthz(vitals)
    assert status == 503
    assert b"the folder watch has ended" in body
