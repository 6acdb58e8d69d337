import threading
from typing import cast
from urllib.parse import urlencode

import h11
import pytest

from services.gateway.producer import ImageProducer
from services.gateway.service import GatewayVitals, _server
from services.gateway.settings import DoorSettings
from shared.identity import MAX_ID_LENGTH
from shared.stream.admin import healthz
from tests.unit.gateway.doubles import FakeProducer


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


@pytest.mark.parametrize("character", ["a", "ü", "漢", "😀"])
def test_the_longest_ids_are_taken_also_where_the_request_comes_in_parts(character: str) -> None:
    config = _server(DoorSettings(), cast("ImageProducer", FakeProducer()), None).config
    query = urlencode(dict.fromkeys(("line", "product", "chip", "event_id"), character * MAX_ID_LENGTH))
    head = f"POST /v1/images?{query} HTTP/1.1\r\nHost: gateway\r\n\r\n".encode()
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=config.h11_max_incomplete_event_size or 16_384)
    connection.receive_data(head[:-1])
    assert connection.next_event() is h11.NEED_DATA
    connection.receive_data(head[-1:])
    assert isinstance(connection.next_event(), h11.Request)
