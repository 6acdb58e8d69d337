"""Records that the broker no longer has: what is left of them is judged, and what is lost is told of."""

from collections.abc import Callable

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from prometheus_client import REGISTRY

from shared.identity import identity_of, to_headers
from shared.kafka import past_reader_config, transactional_producer_config
from shared.settings import Settings
from shared.topics import Topics
from tests.events_of_chips import image_captured
from tests.kafka_records import Records, wait_for
from tests.running_stage import RunningStage
from tests.toy_stage import OnceStep, ToyStep

Start = Callable[..., RunningStage]


def chips(numbers: range) -> list:
    return [image_captured(b"picture", number, line_id="line-0") for number in numbers]


def ids(numbers: range) -> list[str]:
    return [f"event-{number}" for number in numbers]


def forwarded(records: Records, number: int) -> list[str]:
    return [event.event_id for event in records.wait_for("features", number)]


def last_picture(records: Records) -> tuple[int, int]:
    """The partition of the one line, and the offset of its last picture."""
    message = records.committed_messages("images")[-1]
    return message.partition(), message.offset()


def counted(name: str) -> float:
    """By all stages of this process."""
    return REGISTRY.get_sample_value(f"chipsieve_{name}_total", {"stage": "toy"}) or 0.0


@pytest.fixture
def admin(topics: Topics) -> AdminClient:
    return AdminClient(Settings().kafka.client_config())


def test_records_that_expired_unread_are_counted_and_those_after_them_are_judged(
    start: Start, records: Records, topics: Topics, admin: AdminClient
):
    records.send(chips(range(4)))
    first = start(ToyStep())
    records.wait_for("features", 4)
    first.stop()
    records.send(chips(range(4, 14)))
    partition, last = last_picture(records)
    place = TopicPartition(topics.by_name["images"].name, partition, last - 2)
    admin.delete_records([place])[place].result(30)
    expired = counted("records_expired")
    start(ToyStep())
    assert forwarded(records, 7) == ids(range(4)) + ids(range(11, 14))
    assert counted("records_expired") - expired == 7


def test_a_log_that_ends_below_the_offset_is_gone_back_in_and_no_chip_is_judged_twice(
    start: Start, records: Records, topics: Topics, admin: AdminClient
):
    records.send(chips(range(10)))
    first = start(OnceStep())
    records.wait_for("features", 10)
    first.stop()
    partition, last = last_picture(records)
    move_offset_keeping_its_note(admin, topics, partition, last + 21)
    cut_short = counted("logs_cut_short")
    start(OnceStep()).wait_until_it_owns(6)
    records.send(chips(range(10, 20)))
    assert forwarded(records, 20) == ids(range(20))
    assert counted("logs_cut_short") - cut_short == 1


def test_markers_of_transactions_after_the_last_record_are_not_left_to_be_told_of_as_lost(
    start: Start, records: Records, topics: Topics
):
    settings = Settings()
    stage = start(OnceStep())
    stage.wait_until_it_owns(6)
    upstream = Producer(transactional_producer_config(settings.kafka, topics, f"{settings.topic_prefix}upstream"))
    upstream.init_transactions(30)
    images = topics.by_name["images"].name
    for chip in chips(range(3)):
        upstream.begin_transaction()
        upstream.produce(images, records.encode(chip), partition=2, headers=to_headers(identity_of(chip)))
        upstream.commit_transaction(30)
    records.wait_for("features", 3)
    reader = Consumer(past_reader_config(settings.kafka, topics, f"{settings.topic_prefix}chipsieve-toy"))
    place = TopicPartition(images, 2)

    def is_at_the_end() -> bool:
        return reader.committed([place], 30)[0].offset == reader.get_watermark_offsets(place, 30)[1]

    wait_for(is_at_the_end, "the marker to be passed")
    reader.close()


def move_offset_keeping_its_note(admin: AdminClient, topics: Topics, partition: int, offset: int) -> None:
    settings = Settings()
    group = f"{settings.topic_prefix}chipsieve-toy"
    reader = Consumer(past_reader_config(settings.kafka, topics, group))
    place = TopicPartition(topics.by_name["images"].name, partition)
    (committed,) = reader.committed([place], 30)
    reader.close()
    moved = TopicPartition(place.topic, partition, offset, committed.metadata)
    admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, [moved])])[group].result(30)
