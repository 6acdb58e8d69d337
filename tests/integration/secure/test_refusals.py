"""Whoever cannot show who they are, or does not trust whom they should not, gets nowhere."""

import json
import socket
import ssl
import stat
from pathlib import Path

import psutil
import pytest
from confluent_kafka import KafkaException, Producer
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from services.cli.local_stack import certificates
from shared.bank.errors import BankUnavailable
from shared.bank.store import BankStore
from shared.settings import KafkaSettings, RegistrySettings
from shared.topics import Topics
from shared.wire.errors import RegistryUnavailable
from shared.wire.registry import SchemaRegistry
from tests.integration.secure.conftest import GuardedStack
from tests.integration.valkey import wait_until

ANSWER_S = 10.0


@pytest.fixture(scope="module")
def foreign_authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority that did not sign this stack's certificates, with a certificate for the same names."""
    folder = tmp_path_factory.mktemp("foreign")
    certificates.make_authority(folder)
    certificates.issue(folder, "broker")
    return folder


def refusal(settings: KafkaSettings) -> str:
    """What the client says first of the broker that it cannot talk to."""
    heard: list[str] = []
    config = {**settings.client_config(), "log_level": 0, "error_cb": lambda error: heard.append(error.str())}
    producer = Producer(config)

    def told() -> bool:
        producer.poll(0.05)
        return bool(heard)

    wait_until(told, seconds=60)
    with pytest.raises(KafkaException):
        producer.list_topics(timeout=0.5)
    return " ".join(heard)


def test_kafka_refuses_a_wrong_password(guarded: GuardedStack) -> None:
    right = guarded.settings("matcher").kafka
    wrong = KafkaSettings(**{**right.model_dump(exclude={"sasl_password_file"}), "sasl_password": "a guess"})
    assert "Authentication failed" in refusal(wrong)


def test_kafka_refuses_a_user_that_is_not_declared(guarded: GuardedStack) -> None:
    right = guarded.settings("matcher").kafka
    unknown = KafkaSettings(**{**right.model_dump(), "sasl_username": "stranger"})
    assert "Authentication failed" in refusal(unknown)


def test_a_client_refuses_a_broker_of_a_foreign_authority(guarded: GuardedStack, foreign_authority: Path) -> None:
    right = guarded.settings("matcher").kafka
    misled = right.model_copy(update={"ssl_ca_location": foreign_authority / "ca.crt"})
    assert "certificate verify failed" in refusal(misled)


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SASL_PLAINTEXT", "SSL"])
def test_kafka_speaks_to_nobody_without_tls_and_a_user(guarded: GuardedStack, protocol: str) -> None:
    right = guarded.settings("matcher").kafka
    bare = right.model_copy(update={"security_protocol": protocol})
    assert refusal(bare)


def test_kafkas_internal_listeners_ask_for_the_brokers_own_certificate(
    guarded: GuardedStack, foreign_authority: Path
) -> None:
    ports = json.loads((guarded.directory / "ports.json").read_text())
    for name in ("kafka-internal", "kafka-controller"):
        for chain in (None, foreign_authority / "broker.pem"):
            context = ssl.create_default_context(cafile=str(guarded.security.authority))
            context.maximum_version = ssl.TLSVersion.TLSv1_2  # a refusal within the handshake
            if chain:
                context.load_cert_chain(str(chain))
            with (
                socket.create_connection(("127.0.0.1", ports[name]), timeout=ANSWER_S) as plain,
                pytest.raises((ssl.SSLError, ConnectionError)),
            ):
                context.wrap_socket(plain, server_hostname="localhost")


def test_valkey_refuses_plaintext_a_wrong_password_and_nobody(guarded: GuardedStack, tmp_path: Path) -> None:
    right = guarded.settings("matcher").redis
    (tmp_path / "password").write_text("a guess")
    for wrong, why in (
        (right.model_copy(update={"url": right.url.replace("rediss", "redis")}), "cannot be reached"),
        (right.model_copy(update={"password_file": tmp_path / "password"}), "no such user or password"),
        (right.model_copy(update={"username": "router"}), "no such user or password"),
        (right.model_copy(update={"username": None, "password_file": None}), "refused"),
    ):
        store = BankStore(wrong)
        with pytest.raises(BankUnavailable, match=why):
            store.products()
        store.close()


def test_a_client_refuses_a_valkey_of_a_foreign_authority(guarded: GuardedStack, foreign_authority: Path) -> None:
    right = guarded.settings("matcher").redis
    store = BankStore(right.model_copy(update={"ssl_ca_location": foreign_authority / "ca.crt"}))
    with pytest.raises(BankUnavailable, match="certificate verify failed"):
        store.products()
    store.close()


def test_the_registry_speaks_tls_alone(guarded: GuardedStack, guarded_topics: Topics, foreign_authority: Path) -> None:
    right = guarded.settings("matcher").registry
    topic = guarded_topics.by_name["images"]
    with SchemaRegistry(right) as registry:
        assert registry.id_of(topic) > 0
    misled = right.model_copy(update={"ssl_ca_location": foreign_authority / "ca.crt"})
    plain = RegistrySettings(url=right.url.replace("https", "http"))
    for wrong in (misled, plain):
        with SchemaRegistry(wrong) as registry, pytest.raises(RegistryUnavailable):
            registry.id_of(topic)


def test_every_port_is_on_loopback_and_valkeys_own_is_closed(guarded: GuardedStack) -> None:
    ports = json.loads((guarded.directory / "ports.json").read_text())
    once = Retry(NoBackoff(), retries=0)
    with (
        Redis(port=ports["redis"], socket_timeout=ANSWER_S, retry=once) as client,
        pytest.raises((RedisError, OSError)),
    ):
        client.ping()
    listening = {
        connection.laddr
        for connection in psutil.net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port in ports.values()
    }
    assert {address.ip for address in listening} <= {"127.0.0.1", "::ffff:127.0.0.1"}


def test_passwords_and_keys_are_for_their_owner_alone_and_in_no_command_line_or_log(guarded: GuardedStack) -> None:
    folder = guarded.security.folder
    secret_files = [*folder.glob("users/*/password"), *folder.glob("*.key"), *folder.glob("*.pem"), folder]
    for path in secret_files:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    secrets = [path.read_text() for path in folder.glob("users/*/password")]
    assert len(secrets) >= 10
    told = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    told += [path.read_text(errors="replace") for path in guarded.directory.glob("logs/*.log")]
    told += [path.read_text() for path in guarded.directory.glob("kafka/*.properties")]
    for secret in secrets:
        assert not [text for text in told if secret in text]
