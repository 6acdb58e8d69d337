"""Topics on a real broker, and what `chipsieve topics` makes of them."""

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from confluent_kafka import KafkaException, Producer

from shared.events import ImageCaptured
from shared.identity import identity_of, to_headers
from shared.kafka import (
    TopicMismatch,
    create_topics,
    producer_config,
)
from shared.settings import Settings
from shared.topics import Topics
from shared.wire.codec import Codec
from tests.contract.examples import EXAMPLES
from tests.integration.commands.conftest import FLUSH_S, documents


class TestTopics:
    def test_creating_again_creates_nothing(self, topics: Topics):
        done = create_topics(Settings().kafka, topics)

        assert done.created == ()

    def test_a_broker_that_forgets_offsets_before_records_is_warned_of(
        self, topics: Topics, monkeypatch: pytest.MonkeyPatch
    ):
        assert create_topics(Settings().kafka, topics).warnings == ()
        monkeypatch.setattr(Topics, "longest_retention_hours", 24 * 90)

        (warning,) = create_topics(Settings().kafka, topics).warnings

        assert "offsets.retention.minutes is 86400 minutes, and records are kept for 129600 minutes" in warning
        (document,) = documents("topics", "create")
        assert document["warnings"] == [warning]

    def test_the_command_says_what_it_did(self, topics: Topics):
        (document,) = documents("topics", "create")

        assert [(row["topic"], row["created"]) for row in document["topics"]] == [
            (topic.name, False) for topic in topics.by_name.values()
        ]
        assert {row["compatibility"] for row in document["topics"]} == {"FULL_TRANSITIVE"}

    def test_every_difference_from_the_declaration_is_named(self, topics: Topics):
        changed = {
            name: replace(topic, partitions=topic.partitions + 1, max_message_bytes=topic.max_message_bytes + 1)
            for name, topic in topics.by_name.items()
            if name in ("images", "alerts")
        }
        declared = replace(topics, by_name={**topics.by_name, **changed})

        with pytest.raises(TopicMismatch) as mismatch:
            create_topics(Settings().kafka, declared)

        assert str(mismatch.value).count("partitions is 6, declared 7") == 2
        assert "max.message.bytes is 8454144, declared 8454145" in str(mismatch.value)

    def test_the_largest_picture_travels_and_a_larger_record_is_refused_before_it_is_sent(
        self, topics: Topics, codec: Codec, produce: Callable[..., None], images: Callable[[int], list[Any]]
    ):
        event = replace(EXAMPLES["ImageCaptured"], image_bytes=os.urandom(topics.max_image_bytes))

        produce("images", event, headers=to_headers(identity_of(event)))

        (message,) = images(1)
        assert codec.decode(message.value(), ImageCaptured) == event
        with pytest.raises(KafkaException, match="MSG_SIZE_TOO_LARGE"):
            produce("images", bytes(topics.max_message_bytes + 1))

    def test_a_records_age_is_reckoned_by_the_brokers_clock(self, topics: Topics):
        """Whatever its producer's says: by a slow one it would expire at once, and a fast one would be refused."""
        producer = Producer(producer_config(Settings().kafka, topics))
        refused: list[Any] = []
        now = datetime.now(UTC).timestamp()
        for differs_s in (-30 * 86400, 2 * 3600):
            producer.produce(
                topics.by_name["images"].name,
                EXAMPLES["ImageCaptured"].SCHEMA.encode(),
                timestamp=int((now + differs_s) * 1000),
                on_delivery=lambda error, _message: refused.append(error) if error else None,
            )
        assert producer.flush(FLUSH_S) == 0

        shown = documents("tail", "images", "--from-beginning", "--max", "2")

        assert refused == []
        for document in shown:
            assert abs(datetime.fromisoformat(document["timestamp"]).timestamp() - now) < 60
