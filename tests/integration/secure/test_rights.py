"""Who may do what, as a broker with the rules of schemas/access.yaml sees it."""

import base64
import http.client
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from threading import Event
from urllib.parse import urlsplit

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.schema_registry import SchemaRegistryClient, topic_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext
from typer.testing import CliRunner

from services.cli.commands import app
from shared.access import load_access
from shared.errors import ConfigurationError
from shared.events import ChipRejected, Verdict
from shared.kafka import consumer_config, create_topics, producer_config, reader_config, transactional_producer_config
from shared.settings import RegistrySettings
from shared.stream.errors import ClientFailed, ExitStatus, TransactionAborted
from shared.stream.record import Output
from shared.stream.transaction import Transactions
from shared.topics import Topics, load_topics
from shared.wire.codec import Codec
from shared.wire.errors import RegistryUnavailable
from shared.wire.registry import SchemaRegistry
from tests.events_of_chips import NOON, identity
from tests.integration.secure.conftest import GuardedStack

ACCESS = load_access(load_topics())
SERVICES = [name for name, principal in ACCESS.items() if principal.service]
REGISTRY_USERS = [name for name, principal in ACCESS.items() if principal.uses_registry]
KAFKA_USERS = [name for name, principal in ACCESS.items() if principal.uses_kafka]
ANSWER_S = 30.0


def code_of(attempt: Callable[[], object]) -> str:
    with pytest.raises(KafkaException) as caught:
        attempt()
    return str(caught.value.args[0].name())


def plain_producer(guarded: GuardedStack, user: str) -> Producer:
    """One that asks for no producer id first, so that the broker's answer is about the topic."""
    config = producer_config(guarded.settings(user).kafka, load_topics())
    return Producer({**config, "enable.idempotence": False, "log_level": 0})


def written(guarded: GuardedStack, user: str, topic: str, value: bytes = b"forged") -> KafkaError | None:
    """What the broker has against a record of this user in this topic."""
    answers: list[KafkaError | None] = []
    producer = plain_producer(guarded, user)
    producer.produce(topic, value, on_delivery=lambda error, _message: answers.append(error))
    assert producer.flush(ANSWER_S) == 0
    return answers[0]


def read(guarded: GuardedStack, user: str, topic: str) -> bytes | str:
    """The first record that this user sees in the topic, or the broker's refusal to name its leaders or to serve it."""
    config = reader_config(guarded.settings(user).kafka, load_topics(), group=f"{user}-1")
    consumer = Consumer({**config, "enable.partition.eof": False, "log_level": 0})
    try:
        if hidden := consumer.list_topics(topic, timeout=ANSWER_S).topics[topic].error:
            return str(hidden.name())
        partitions = range(load_topics().by_name[topic].partitions)
        consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
        while True:
            message = consumer.poll(ANSWER_S)
            assert message is not None, f"neither a record of {topic} nor a refusal"
            if message.error() is None:
                return bytes(message.value())
            if message.error().code() != KafkaError.GROUP_AUTHORIZATION_FAILED:  # which reading needs none of
                return str(message.error().name())
    finally:
        consumer.close()


def test_a_reject_gate_reads_rejects_and_nothing_else(guarded: GuardedStack, guarded_topics: Topics) -> None:
    assert written(guarded, "router", "rejects", b"which chip to throw out") is None
    assert isinstance(read(guarded, "reject-gate", "rejects"), bytes)  # this one, or one of the line's
    for topic in guarded_topics.by_name.keys() - {"rejects"}:
        assert read(guarded, "reject-gate", topic) == "TOPIC_AUTHORIZATION_FAILED", topic


def test_a_reject_gate_is_not_even_told_of_other_topics(guarded: GuardedStack, guarded_topics: Topics) -> None:
    admin = AdminClient(guarded.settings("reject-gate").kafka.client_config())
    assert set(admin.list_topics(timeout=ANSWER_S).topics) == {"rejects"}


def test_a_reject_gate_writes_nothing_and_makes_nothing(guarded: GuardedStack, guarded_topics: Topics) -> None:
    for topic in guarded_topics.by_name:
        error = written(guarded, "reject-gate", topic)
        assert error is not None
        assert error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    admin = AdminClient(guarded.settings("reject-gate").kafka.client_config())
    made = admin.create_topics([NewTopic("own", 1)])["own"]
    assert code_of(lambda: made.result(ANSWER_S)) == "TOPIC_AUTHORIZATION_FAILED"


def test_a_reject_gate_stays_out_of_the_stages_groups(guarded: GuardedStack, guarded_topics: Topics) -> None:
    config = reader_config(guarded.settings("reject-gate").kafka, guarded_topics, group="chipsieve-router")
    consumer = Consumer({**config, "log_level": 0})
    consumer.subscribe(["rejects"])
    message = consumer.poll(ANSWER_S)
    assert message is not None
    assert message.error().code() == KafkaError.GROUP_AUTHORIZATION_FAILED
    consumer.close()


@pytest.mark.parametrize("user", KAFKA_USERS)
def test_nobody_writes_a_topic_that_is_not_declared_for_them(
    guarded: GuardedStack, guarded_topics: Topics, user: str
) -> None:
    producer = plain_producer(guarded, user)
    foreign = guarded_topics.by_name.keys() - set(ACCESS[user].writes)
    refused: set[str] = set()

    def note(error: KafkaError | None, message: object) -> None:
        if error is not None and error.name().endswith("AUTHORIZATION_FAILED"):
            refused.add(message.topic())  # type: ignore[attr-defined]

    for topic in foreign:
        producer.produce(topic, b"forged", on_delivery=note)
    assert producer.flush(ANSWER_S) == 0
    assert refused == foreign


@pytest.mark.parametrize("user", SERVICES)
def test_no_service_takes_anothers_worker_slot(guarded: GuardedStack, guarded_topics: Topics, user: str) -> None:
    for other in {"extractor", "matcher", "router"} - {user}:
        config = transactional_producer_config(guarded.settings(user).kafka, guarded_topics, f"chipsieve-{other}-0")
        producer = Producer({**config, "log_level": 0})
        refusal = code_of(lambda producer=producer: producer.init_transactions(ANSWER_S))
        assert refusal == "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", other


def test_the_autoscaler_sees_how_long_a_topic_is_and_no_record(guarded: GuardedStack, guarded_topics: Topics) -> None:
    assert read(guarded, "autoscaler", "images") == "TOPIC_AUTHORIZATION_FAILED"
    consumer = Consumer(reader_config(guarded.settings("autoscaler").kafka, guarded_topics))
    assert consumer.get_watermark_offsets(TopicPartition("images", 0), timeout=ANSWER_S)[0] == 0
    consumer.close()


def test_the_operator_finds_the_topics_as_declared(guarded: GuardedStack, guarded_topics: Topics) -> None:
    done = create_topics(guarded.settings("operator").kafka, guarded_topics)
    assert done.created == ()
    assert done.warnings == (), "it may ask how long the brokers keep offsets"


@pytest.mark.parametrize("user", REGISTRY_USERS)
def test_who_reads_or_writes_records_reads_schemas_and_the_operator_alone_registers_them(
    guarded: GuardedStack, guarded_topics: Topics, user: str
) -> None:
    topic = guarded_topics.by_name["rejects"]
    with SchemaRegistry(guarded.settings(user).registry) as registry:
        assert registry.schema_of(registry.id_of(topic)) is not None
        if ACCESS[user].manages_topics:
            assert registry.register(topic) == registry.id_of(topic)
        else:
            with pytest.raises(RegistryUnavailable, match=f"refuses the user {user}"):
                registry.register(topic)


def registry_answer(guarded: GuardedStack, user: str, method: str, path: str, body: str | None = None) -> int:
    """The status of a request to the registry that none of our clients would make."""
    settings = guarded.settings(user).registry
    context = ssl.create_default_context(cafile=str(guarded.security.authority))
    parts = urlsplit(settings.url)
    token = base64.b64encode(f"{user}:{guarded.security.password(user)}".encode()).decode()
    headers = {"authorization": f"Basic {token}", "content-type": "application/json"}
    connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=ANSWER_S, context=context)
    try:
        connection.request(method, parts.path + path, body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


SCHEMA = json.dumps({"schema": json.dumps({"type": "record", "name": "Forged", "fields": []})})


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/subjects/rejects-value/versions", SCHEMA),
        ("POST", "/subjects/rejects-value/versions/", SCHEMA),
        ("POST", "/subjects/rejects-value/versions;a=b", SCHEMA),
        ("POST", "/subjects/rejects-value;a=b/versions", SCHEMA),
        ("POST", "//subjects/rejects-value/versions", SCHEMA),
        ("POST", "/subjects/rejects-value/%76ersions", SCHEMA),
        ("POST", "/schemas/ids/../../subjects/rejects-value/versions", SCHEMA),
        ("POST", "/../v8/subjects/rejects-value/versions", SCHEMA),
        ("POST", "/../../registry/v3/groups/default/artifacts", SCHEMA),
        ("POST", "/associations", "{}"),
        ("DELETE", "/associations/resources/rejects", None),
        ("PUT", "/config/rejects-value", '{"compatibility": "NONE"}'),
        ("PUT", "/mode", '{"mode": "READONLY"}'),
        ("DELETE", "/subjects/rejects-value", None),
        ("DELETE", "/subjects/rejects-value/versions/1", None),
    ],
)
def test_no_way_round_lets_a_service_change_the_registry(
    guarded: GuardedStack, guarded_topics: Topics, method: str, path: str, body: str | None
) -> None:
    assert registry_answer(guarded, "router", method, path, body) == http.HTTPStatus.FORBIDDEN
    assert registry_answer(guarded, "operator", "GET", "/subjects/rejects-value/versions") == http.HTTPStatus.OK


@pytest.mark.parametrize("user", ["reject-gate", "mes"])
def test_a_plants_own_consumer_reads_records_by_confluents_own_client(
    guarded: GuardedStack, guarded_topics: Topics, user: str
) -> None:
    rejected = ChipRejected(**identity(4711).fields(), verdict=Verdict.REJECT, rejected_at=NOON)
    with SchemaRegistry(guarded.settings("router").registry) as registry:
        value = Codec(registry, guarded_topics).encode(rejected)
    with closing(SchemaRegistryClient(guarded.settings(user).registry.client_config())) as client:
        deserialize = AvroDeserializer(client, conf={"subject.name.strategy": topic_subject_name_strategy})
        read = deserialize(value, SerializationContext("rejects", MessageField.VALUE))
    assert read["chip_id"] == rejected.chip_id


@pytest.mark.parametrize(
    ("command", "user"),
    [
        (["tail", "images", "--max", "1"], "reject-gate"),
        (["tail", "rejects", "--max", "1"], "mes"),  # which may read the topic, but not as the operator's group
        (["dead-letters", "list"], "mes"),
    ],
)
def test_a_command_names_the_user_who_lacks_a_right(
    guarded: GuardedStack, guarded_topics: Topics, monkeypatch: pytest.MonkeyPatch, command: list[str], user: str
) -> None:
    for name, value in guarded.addresses.env(user).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=f"authorization failed.*; the user {user} may not: .*access.yaml"):
        CliRunner().invoke(app, command, catch_exceptions=False)


def test_topics_that_a_user_may_not_make_are_told_with_the_user(guarded: GuardedStack) -> None:
    with pytest.raises(ConfigurationError, match=r"east-images cannot be created: .*; the user operator may not: "):
        create_topics(guarded.settings("operator").kafka, load_topics(prefix="east-"))


def test_a_gateway_that_may_write_nothing_ends_and_says_so(guarded: GuardedStack, guarded_topics: Topics) -> None:
    ports = {"CHIPSIEVE_GATEWAY__PORT": "0", "CHIPSIEVE_ADMIN__PORT": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "services.gateway"],
        env=os.environ | guarded.addresses.env("mes") | ports,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == ExitStatus.FAILED
    assert "producer_failed" in done.stderr
    assert "Cluster authorization failed" in done.stderr


def test_the_registry_tells_a_stranger_and_a_wrong_password_nothing(
    guarded: GuardedStack, guarded_topics: Topics
) -> None:
    right = guarded.settings("router").registry
    topic = guarded_topics.by_name["rejects"]
    strangers = {
        "without a name": right.model_copy(update={"username": None, "password_file": None}),
        "router": RegistrySettings(**{**right.model_dump(exclude={"password_file"}), "password": "a guess"}),
        "trainer": right.model_copy(update={"username": "trainer"}),
    }
    for name, settings in strangers.items():
        with SchemaRegistry(settings) as registry, pytest.raises(RegistryUnavailable, match=f"refuses the user {name}"):
            registry.id_of(topic)


def transactions(guarded: GuardedStack, user: str, slot: str) -> Transactions:
    """Of a worker of that user in that slot."""
    config = transactional_producer_config(guarded.settings(user).kafka, load_topics(), slot)
    return Transactions(
        lambda: Producer({**config, "log_level": 0}),
        alive=lambda: None,
        stopping=Event(),
        slot=slot,
        topic="images",
        outputs=[],
        patience_s=2.0,
    )


def test_a_stage_that_may_not_write_says_where_and_what_to_do(guarded: GuardedStack, guarded_topics: Topics) -> None:
    kafka = guarded.settings("extractor").kafka
    foreign = transactions(guarded, "extractor", "chipsieve-extractor-7")
    consumer = Consumer({**consumer_config(kafka, guarded_topics, "chipsieve-extractor"), "log_level": 0})
    with closing(consumer):
        member = consumer.consumer_group_metadata()
    assert foreign.open(member)
    outputs = [Output(topic, 0, None, b"forged", [], None) for topic in ("features", "inspections")]
    with pytest.raises(TransactionAborted, match=r"inspections.*AUTHORIZATION_FAILED.*schemas/access.yaml") as caught:
        foreign.commit(outputs, {}, {}, member)
    assert "features" not in str(caught.value)


def test_a_stage_in_a_slot_that_its_user_may_not_take_says_what_to_do(
    guarded: GuardedStack, guarded_topics: Topics
) -> None:
    with pytest.raises(ClientFailed, match=r"TRANSACTIONAL_ID_AUTHORIZATION_FAILED.*schemas/access.yaml"):
        transactions(guarded, "extractor", "chipsieve-matcher-0").open(None)
