"""One limit on a record's size, the same for topic, broker, producer and consumer."""

from dataclasses import replace

import pytest

from services.cli.local_stack.kafka import broker_settings
from shared.identity import Identity, to_headers
from shared.kafka import consumer_config, producer_config, transactional_producer_config
from shared.settings import KafkaSettings
from shared.topics import load_topics
from shared.wire.codec import Codec
from tests.contract.examples import CAPTURED_AT, EXAMPLES
from tests.registry_double import RegistryInMemory

TOPICS = load_topics()
KAFKA = KafkaSettings()


@pytest.mark.parametrize("config", [producer_config(KAFKA, TOPICS), transactional_producer_config(KAFKA, TOPICS, "t")])
def test_producers_let_through_what_the_largest_topic_takes(config: dict[str, object]):
    assert config["message.max.bytes"] == TOPICS.max_message_bytes


def test_consumers_fetch_what_the_largest_topic_holds():
    config = consumer_config(KAFKA, TOPICS, "group")

    assert config["max.partition.fetch.bytes"] == TOPICS.max_message_bytes
    assert config["fetch.max.bytes"] >= TOPICS.max_message_bytes
    assert config["receive.message.max.bytes"] >= config["fetch.max.bytes"] + 512


def test_the_broker_takes_and_replicates_what_the_largest_topic_takes():
    config = broker_settings(TOPICS)

    assert config["message.max.bytes"] == config["replica.fetch.max.bytes"] == str(TOPICS.max_message_bytes)
    assert int(config["replica.fetch.response.max.bytes"]) >= TOPICS.max_message_bytes


def test_the_largest_picture_fits_its_topic_and_the_dead_letters_with_everything_around_it():
    long = "x" * 1024
    identity = Identity(
        event_id=long, chip_id=long, line_id=long, product=long, captured_at=CAPTURED_AT, verdict_by=CAPTURED_AT
    )
    fields = {"event_id": long, "chip_id": long, "line_id": long, "product": long}
    headers = sum(len(name) + len(value) for name, value in to_headers(identity))
    codec = Codec(RegistryInMemory(), TOPICS)
    image = codec.encode(replace(EXAMPLES["ImageCaptured"], image_bytes=bytes(TOPICS.max_image_bytes), **fields))
    letter = codec.encode(replace(EXAMPLES["DeadLetter"], value=image, detail=long, **fields))

    assert len(image) + headers + len(long) <= TOPICS.by_name["images"].max_message_bytes
    assert len(letter) + headers + len(long) <= TOPICS.by_name["dead-letters"].max_message_bytes
