"""A stage whose topics are not there yet, or not all of them."""

from collections.abc import Callable

from confluent_kafka import TopicCollection
from confluent_kafka.admin import AdminClient

from shared.kafka import create_topics
from shared.settings import Settings
from shared.topics import Topics
from tests.kafka_records import wait_for
from tests.running_stage import RunningStage
from tests.toy_stage import OnceStep


def test_a_stage_whose_topic_is_missing_says_so_and_begins_once_it_is_there(
    start: Callable[..., RunningStage], topics: Topics
) -> None:
    kafka = Settings().kafka
    admin = AdminClient(kafka.client_config())
    (settled,) = (topic.name for topic in topics.by_name.values() if topic.name.endswith("settled"))

    def is_there() -> bool:
        (described,) = admin.describe_topics(TopicCollection([settled])).values()
        return described.exception() is None

    wait_for(is_there, "the topic, which the broker hears of a moment after it was made")
    admin.delete_topics([settled])[settled].result(timeout=30)
    wait_for(lambda: not is_there(), "the topic's end")
    stage = start(OnceStep())
    wait_for(
        lambda: stage.service.admin_port and f"no topic {settled}; run `chipsieve" in str(stage.readiness()["because"]),
        "the reason",
    )
    create_topics(kafka, topics)
    stage.wait_until_it_owns(6)
