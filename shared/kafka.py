"""How Chipsieve's clients talk to Kafka: every librdkafka setting, with its reason, in one place."""

import time
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType, TopicMetadata

from shared.errors import ConfigurationError, NotReady
from shared.settings import KafkaSettings
from shared.topics import Topic, Topics

T = TypeVar("T")
ClientConfig = dict[str, str | int | bool]

ADMIN_TIMEOUT_S = 15.0  # a broker that has just started answers metadata within 3 s; several clients may queue at once
# For clients of people. Without a broker librdkafka writes a line to the terminal for each refused connection, twenty a
# second; that nobody answered is told once, by `BrokerUnavailable`.
_QUIET: ClientConfig = {"log_level": 0}
METADATA_WAIT_S = 0.05  # a broker hears of a new topic within a few of these
PREFETCH_KB = 32 * 1024  # three of the largest records ahead of the worker; the default of 64 MiB is memory, not speed
OFFSETS_RETENTION = "offsets.retention.minutes"
REFUSALS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,  # also of a producer that may write no topic at all
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
}
UNSENT_KB = 128 * 1024  # a full batch of the largest records; the default of 1 GiB would outgrow a container first


class BrokerUnavailable(NotReady):
    """The broker cannot be reached, or did not answer in time."""


class TopicMismatch(ConfigurationError):
    """A topic exists and differs from its declaration in `topics.yaml`."""


def unavailable(settings: KafkaSettings, error: KafkaException) -> BrokerUnavailable:
    """The error for a broker that did not answer, from librdkafka's."""
    usual = "check that it runs and CHIPSIEVE_KAFKA__BOOTSTRAP_SERVERS"
    if settings.security_protocol.startswith("SASL"):  # librdkafka tells of a user that is turned away as of no answer
        usual += f", and that it knows the user {settings.sasl_username} with this password"
    return BrokerUnavailable(
        f"no answer from Kafka at {settings.bootstrap_servers} ({error.args[0].str()}); "
        f"{remedy(settings, error.args[0], usual)}"
    )


def remedy(settings: KafkaSettings, error: KafkaError, usual: str) -> str:
    """What to do about an error of the broker's or the client's: `usual`, but where the user lacks the right."""
    if error.code() not in REFUSALS:
        return usual
    return (
        f"the user {settings.sasl_username or 'ANONYMOUS'} may not: connect as one who may "
        "(CHIPSIEVE_KAFKA__SASL_USERNAME), or give it the right in schemas/access.yaml"
    )


def explained(error: KafkaError) -> str:
    """An error as a stage tells it: by its name too, and with what to do where its user lacks a right."""
    told = f"{error.name()}: {error.str()}"
    if error.code() not in REFUSALS:
        return told
    return f"{told}; give CHIPSIEVE_KAFKA__SASL_USERNAME the right in schemas/access.yaml, or connect as one who has it"


def consumer_config(settings: KafkaSettings, topics: Topics, group: str) -> ClientConfig:
    """For a stage: offsets are committed by its transactions, only committed records are seen."""
    return {
        **_common(settings),
        "group.id": group,
        # KIP-848: the broker assigns, members of a group never stop for each other. Exactly-once held under SIGKILL and
        # a frozen member. It refuses session.timeout.ms, heartbeat.interval.ms and partition.assignment.strategy.
        "group.protocol": "consumer",
        **_reading(topics),
        "auto.offset.reset": "earliest",  # a chip that waited before the stage first ran still gets its verdict
        "enable.auto.commit": False,  # offsets go into the producer's transaction
        "enable.auto.offset.store": False,
    }


def reader_config(settings: KafkaSettings, topics: Topics, group: str = "chipsieve-reader") -> ClientConfig:
    """For a command that assigns partitions itself and joins no group, as `tail` does."""
    return {**_assigning(settings, topics, group), **_QUIET}


def past_reader_config(settings: KafkaSettings, topics: Topics, group: str) -> ClientConfig:
    """For a stage that reads back what it kept of a partition: reads that group's offsets, but does not join it."""
    return {
        **_assigning(settings, topics, group),
        "fetch.wait.max.ms": 10,  # the partition waits with its records for the end to be told
    }


def admin_config(settings: KafkaSettings) -> ClientConfig:
    """For a client that asks about topics or makes them."""
    return _common(settings)


def producer_config(
    settings: KafkaSettings, topics: Topics, *, linger_ms: int = 5, delivery_timeout_ms: int = 30_000
) -> ClientConfig:
    """For the gateway and `feed`: idempotent, acknowledged by all in-sync replicas.

    `linger_ms` is short because someone waits for the acknowledgement; a feed may take 20. `delivery_timeout_ms` is how
    long a record is retried before its delivery report says it failed: an HTTP client waits that long, not 5 minutes.
    """
    return {**_writing(settings, topics), "linger.ms": linger_ms, "delivery.timeout.ms": delivery_timeout_ms}


def transactional_producer_config(
    settings: KafkaSettings, topics: Topics, transactional_id: str, *, transaction_timeout_ms: int = 60_000
) -> ClientConfig:
    """For a stage and the dead-letter replay: output and input offsets in one transaction.

    `transactional_id` must be the worker slot's own and the same after a restart, so that the new process fences the
    dead one. `transaction_timeout_ms` bounds how long a dead worker's open transaction holds up read_committed readers.
    """
    return {
        **_writing(settings, topics),
        "transactional.id": transactional_id,
        "transaction.timeout.ms": transaction_timeout_ms,
        # The broker writes a commit's markers after it answered; until then the next transaction is told
        # CONCURRENT_TRANSACTIONS and comes back after this wait. With the default of 100 every back-to-back transaction
        # took 100 ms whatever its size; with 5 it takes 8-14 ms.
        "retry.backoff.ms": 5,
        # Committing flushes, and a flush does not linger. Measured with 16 records of 25 KB a transaction: 5 is as
        # quick as 0 (4 ms) and sends fewer requests; 20 adds 5 ms at p90.
        "linger.ms": 5,
    }


@dataclass(frozen=True, slots=True)
class CreatedTopics:
    """What `create_topics` did; names as in Kafka."""

    created: tuple[str, ...]
    warnings: tuple[str, ...]
    """What the brokers should have set otherwise, for people."""


def create_topics(settings: KafkaSettings, topics: Topics) -> CreatedTopics:
    """Create the topics that are not there; those that are must be as declared.

    Raises `BrokerUnavailable`; `TopicMismatch`, which names every partition count and limit that differs; and
    `ConfigurationError` where the broker refuses.
    """
    admin = AdminClient({**admin_config(settings), **_QUIET})
    # The broker's own default.replication.factor: 1 on one machine, 3 in a plant.
    wanted = [
        NewTopic(topic.name, num_partitions=topic.partitions, replication_factor=-1, config=topic.config())
        for topic in topics.by_name.values()
    ]
    created: list[str] = []
    existing: list[Topic] = []
    futures = admin.create_topics(wanted, operation_timeout=ADMIN_TIMEOUT_S, request_timeout=ADMIN_TIMEOUT_S)
    for topic in topics.by_name.values():
        try:
            _result(futures[topic.name], settings)
            created.append(topic.name)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise _refused(f"topic {topic.name} cannot be created", error, settings) from error
            existing.append(topic)
    _check_existing(admin, settings, existing)
    warning = _offsets_expire_early(admin, settings, topics)
    return CreatedTopics(tuple(created), (warning,) if warning else ())


def _offsets_expire_early(admin: AdminClient, settings: KafkaSettings, topics: Topics) -> str | None:
    """Why a group's offsets may be forgotten while records are kept, if so.

    No more than a warning: it does harm only where no worker of a stage is there for so long.
    """
    needed = topics.longest_retention_hours * 60
    try:
        broker = next(iter(admin.list_topics(timeout=ADMIN_TIMEOUT_S).brokers))
        resource = ConfigResource(ResourceType.BROKER, str(broker))
        described = admin.describe_configs([resource], request_timeout=ADMIN_TIMEOUT_S)[resource]
        minutes = int(_result(described, settings)[OFFSETS_RETENTION].value)
    except KafkaException as error:  # older rights do not let the operator ask
        return (
            f"whether the brokers' {OFFSETS_RETENTION} is {needed} minutes at least is not known: {error.args[0].str()}"
        )
    if minutes >= needed:
        return None
    return (
        f"the brokers' {OFFSETS_RETENTION} is {minutes} minutes, and records are kept for {needed} minutes: where no "
        f"worker of a stage runs for {minutes} minutes, the broker forgets where the stage stands, and all that is "
        "left is judged again; set it to 86400 minutes (60 days)"
    )


def _check_existing(admin: AdminClient, settings: KafkaSettings, existing: list[Topic]) -> None:
    if not existing:
        return
    cluster = _metadata_of(admin, settings, [topic.name for topic in existing])
    resources = {topic.name: ConfigResource(ResourceType.TOPIC, topic.name) for topic in existing}
    described = admin.describe_configs(list(resources.values()), request_timeout=ADMIN_TIMEOUT_S)
    differences = []
    for topic in existing:
        partitions = len(cluster[topic.name].partitions)
        if partitions != topic.partitions:
            differences.append(f"{topic.name}: partitions is {partitions}, declared {topic.partitions}")
        try:
            actual = _result(described[resources[topic.name]], settings)
        except KafkaException as error:
            raise _refused(f"topic {topic.name} cannot be looked at", error, settings) from error
        differences += [
            f"{topic.name}: {name} is {actual[name].value}, declared {value}"
            for name, value in topic.config().items()
            if actual[name].value != value
        ]
    if differences:
        raise TopicMismatch(
            f"topics differ from schemas/topics.yaml: {'; '.join(differences)}. Alter them with Kafka's own tools, or "
            "change the declaration; changing partitions moves lines to other partitions and breaks their order once"
        )


def _metadata_of(admin: AdminClient, settings: KafkaSettings, names: list[str]) -> dict[str, TopicMetadata]:
    """Metadata of topics that exist. A broker may hear of a topic a moment after the controller made it."""
    deadline = time.monotonic() + ADMIN_TIMEOUT_S
    while True:
        try:
            cluster: dict[str, TopicMetadata] = admin.list_topics(timeout=ADMIN_TIMEOUT_S).topics
        except KafkaException as error:
            raise unavailable(settings, error) from error
        missing = [name for name in names if name not in cluster]
        if not missing:
            return cluster
        if time.monotonic() > deadline:
            raise BrokerUnavailable(
                f"Kafka says that {', '.join(missing)} exists, and does not show it after {ADMIN_TIMEOUT_S:.0f} s: "
                "check that the brokers reach their controller"
            )
        time.sleep(METADATA_WAIT_S)


def _refused(what: str, error: KafkaException, settings: KafkaSettings) -> ConfigurationError:
    why = error.args[0]
    return ConfigurationError(f"{what}: {why.str()}; {remedy(settings, why, 'the log of the broker may say more')}")


def _result(future: Future[T], settings: KafkaSettings) -> T:
    try:
        return future.result(timeout=2 * ADMIN_TIMEOUT_S)
    except KafkaException as error:
        if error.args[0].retriable() or error.args[0].code() < 0:  # negative: the client's own, nobody answered
            raise unavailable(settings, error) from error
        raise


def _common(settings: KafkaSettings) -> ClientConfig:
    return {
        **settings.client_config(),
        "client.id": "chipsieve",
        # After a broker's restart a client is back within a second; the default backs off to 10 s.
        "reconnect.backoff.max.ms": 1000,
    }


def _assigning(settings: KafkaSettings, topics: Topics, group: str) -> ClientConfig:
    return {
        **_common(settings),
        "group.id": group,  # librdkafka wants one; no group is joined
        **_reading(topics),
        # Where the oldest records expire while they are read, it goes on with those that are left. By default it would
        # go on at the end, and a verdict among the others would be taken for none.
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "enable.partition.eof": True,  # tells when everything that was there has been read
        "fetch.wait.max.ms": 50,  # an empty partition tells so after this; someone waits for it
    }


def _reading(topics: Topics) -> ClientConfig:
    largest_fetch = max(50 * 1024 * 1024, topics.max_message_bytes)
    return {
        "isolation.level": "read_committed",  # a verdict of an aborted transaction never existed
        "max.partition.fetch.bytes": topics.max_message_bytes,  # at least one record of the largest size
        "fetch.max.bytes": largest_fetch,
        "receive.message.max.bytes": largest_fetch + 1024 * 1024,  # librdkafka wants 512 bytes more than a fetch
        "queued.max.messages.kbytes": PREFETCH_KB,
        # Once the prefetch queue was full, look again after this; the default of 1 s would leave a fast stage idle.
        "fetch.queue.backoff.ms": 20,
    }


def _writing(settings: KafkaSettings, topics: Topics) -> ClientConfig:
    return {
        **_common(settings),
        # Java's: a plant's own Java producers put a line's records into the same partition as we do.
        "partitioner": "murmur2_random",
        "acks": "all",
        "enable.idempotence": True,
        "compression.type": "none",  # JPEG, PNG and int8 features do not get smaller; it costs CPU on both sides
        "batch.size": 1024 * 1024,  # large requests cut the client's CPU a record
        "message.max.bytes": topics.max_message_bytes,  # the client refuses by itself what no topic would take
        "queue.buffering.max.kbytes": UNSENT_KB,
    }
