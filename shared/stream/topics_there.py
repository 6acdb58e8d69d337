"""Whether a stage's topics are there, asked before it takes its slot: its producer waits for them without a word."""

from collections.abc import Collection
from concurrent.futures import Future

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, TopicDescription

from shared.stream.errors import TopicsMissing

CALL_TIMEOUT_S = 2.0


def check_topics(admin: AdminClient, names: Collection[str]) -> None:
    """See that the broker knows the topics; where it does not answer, nothing is said: all that follows waits for it.

    Raises:
        TopicsMissing: it does not.
    """
    asked = admin.describe_topics(TopicCollection(sorted(names)), request_timeout=CALL_TIMEOUT_S)
    if missing := [name for name, answer in asked.items() if _is_missing(answer)]:
        raise TopicsMissing(f"Kafka has no topic {', '.join(missing)}; run `chipsieve topics create`")


def _is_missing(answer: "Future[TopicDescription]") -> bool:
    try:
        answer.result()
    except KafkaException as error:
        return bool(error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART)
    return False
