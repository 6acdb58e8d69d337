import time

import pytest

from services.gateway.producer import ImageProducer
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
