import threading
import time
from collections.abc import Callable

import pytest
from confluent_kafka import KafkaError, KafkaException

from services.gateway.capture import capture, identify
from services.gateway.producer import ImageProducer
from shared.identity import to_headers
from shared.kafka import BrokerUnavailable
from shared.settings import KafkaSettings, Settings
from shared.wire.codec import Codec


def test_without_a_broker_the_question_is_answered_in_time_and_not_when_a_picture_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Codec, "prepare", lambda _self: None)
    settings = Settings(kafka=KafkaSettings(bootstrap_servers="127.0.0.1:1"))  # nothing listens there
    with ImageProducer(settings, delivery_timeout_ms=120_000) as producer:
        began = time.monotonic()
        with pytest.raises(BrokerUnavailable, match=r"no answer from Kafka at 127\.0\.0\.1:1 "):
            producer.ask(0.2)
        assert time.monotonic() - began < 10
        monkeypatch.setattr("services.gateway.producer.METADATA_TIMEOUT_S", 0.2)
        assert "no answer from Kafka at 127.0.0.1:1 " in (producer.not_ready_because() or "")


class GivesUp:
    """A client that raises once that it cannot go on, as the real one does, and reports what was under way later."""

    raises: Exception = KafkaException(KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "a gap", fatal=True))

    def __init__(self, config: dict[str, object], **_: object) -> None:
        self._reports: list[Callable[[KafkaError, object], None]] = []
        self._has_raised = False

    def produce(self, *_: object, on_delivery: Callable[[KafkaError, object], None], **__: object) -> None:
        self._reports.append(on_delivery)

    def poll(self, timeout_s: float) -> int:
        time.sleep(0.001)  # a poll waits for its timeout; without it the polling thread would take a whole core
        if self._reports and not self._has_raised:
            self._has_raised = True
            raise self.raises
        while self._reports:
            self._reports.pop()(KafkaError(KafkaError._FATAL), None)
        return 0

    def flush(self) -> int:
        return len(self._reports)


@pytest.mark.parametrize(
    "raised", [GivesUp.raises, SystemError("<method 'poll'> returned a result with an exception set")]
)
def test_a_client_that_cannot_go_on_ends_the_gateway_and_leaves_no_sender_without_an_answer(
    monkeypatch: pytest.MonkeyPatch, raised: Exception
) -> None:
    monkeypatch.setattr(Codec, "encode", lambda *_: b"")
    monkeypatch.setattr("services.gateway.producer.Producer", type("Raises", (GivesUp,), {"raises": raised}))
    ended = threading.Event()
    identity = identify(line_id="line-1", product="soic-8", chip_id="1")
    with ImageProducer(Settings(), delivery_timeout_ms=1000, on_fatal=ended.set) as producer:
        stored = producer.publish(capture(identity, b"", max_image_bytes=1))
        with pytest.raises(BrokerUnavailable, match="not acknowledged by Kafka"):
            stored.result(timeout=30)
        assert ended.is_set()
        assert producer.fatal_error is not None
        assert producer.not_ready_because() == producer.fatal_error


def test_a_picture_goes_to_the_images_of_its_prefix_by_its_line_with_its_identity(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Takes(GivesUp):
        produced: tuple[object, ...] = ()

        def produce(self, topic: str, *, key: bytes, value: bytes, headers: object, on_delivery: object) -> None:
            Takes.produced = topic, key, value, headers

    monkeypatch.setattr(Codec, "encode", lambda *_: b"encoded")
    monkeypatch.setattr("services.gateway.producer.Producer", Takes)
    identity = identify(line_id="line-1", product="soic-8", chip_id="1", deadline_ms=250)
    with ImageProducer(Settings(topic_prefix="east-"), delivery_timeout_ms=1000) as producer:
        producer.publish(capture(identity, b"", max_image_bytes=1))
    assert Takes.produced == ("east-images", b"line-1", b"encoded", to_headers(identity))
