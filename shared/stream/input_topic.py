"""Whether the input topic is still the one that this worker began with.

A topic that is deleted and created anew has another id under the same name, and the epochs of its leaders begin anew.
Where they had been higher before, librdkafka 2.16 was seen to fetch nothing more: without an error, without lag, and
for as long as it was watched (docs/decisions/0008). A new process reads the new topic from its beginning.
"""

from collections.abc import Callable

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient, TopicDescription

from shared.stream.errors import ClientFailed

CALL_TIMEOUT_S = 5.0


class InputTopic:
    """Used by one thread.

    Args:
        new_admin: makes the client to ask with.
        topic: the stage's input topic, as Kafka names it.
    """

    def __init__(self, new_admin: Callable[[], AdminClient], topic: str) -> None:
        self._new_admin = new_admin
        self._topic = topic
        self._admin: AdminClient | None = None
        self._id: str | None = None

    def check(self) -> bool:
        """Whether it is there now and may be read, and is the one that it was at the first call.

        Raises:
            ClientFailed: it is another.
        """
        found = self._ask()
        if found is None:
            return False
        found_id = str(found.topic_id)
        if self._id not in (None, found_id):
            raise ClientFailed(
                f"topic {self._topic} was deleted and created anew while this process ran (its id was {self._id} and "
                f"is {found_id}), of which the client may read nothing: start this process again"
            )
        self._id = found_id
        allowed = found.authorized_operations  # nothing where a broker does not tell: it shows the topic at least
        return not allowed or AclOperation.READ in allowed

    def _ask(self) -> TopicDescription | None:
        """What it is, None where that is not known: the broker is away, or the topic is."""
        if self._admin is None:
            self._admin = self._new_admin()
        try:
            asked = self._admin.describe_topics(
                TopicCollection([self._topic]), include_authorized_operations=True, request_timeout=CALL_TIMEOUT_S
            )
            return asked[self._topic].result()
        except KafkaException:
            self._admin = None  # after a broker's restart, a client may go on with what it knew before
            return None
