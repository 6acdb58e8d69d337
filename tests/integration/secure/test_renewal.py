"""Certificates are renewed while everybody works."""

import json
import socket
import ssl
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from services.cli.local_stack import certificates
from services.cli.local_stack import stack as local_stack
from services.cli.local_stack.errors import DirectoryUnusable
from shared.bank.errors import BankUnavailable
from shared.bank.store import BankStore
from shared.kafka import producer_config, reader_config
from shared.topics import Topics
from shared.wire.registry import SchemaRegistry
from tests.integration.secure.conftest import GuardedStack
from tests.integration.valkey import wait_until

ANSWER_S = 30.0
REGISTRY_RELOADS_S = 30.0  # as often; it takes no less


def serial(guarded: GuardedStack, name: str) -> str:
    """The serial number of the certificate that a new connection to a server is shown."""
    port = json.loads((guarded.directory / "ports.json").read_text())[name]
    context = ssl.create_default_context(cafile=str(guarded.security.authority))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as shown,
    ):
        found = shown.getpeercert()
    assert found is not None
    return str(found["serialNumber"])


def test_servers_show_new_certificates_and_who_is_connected_stays_connected(
    guarded: GuardedStack, guarded_topics: Topics
) -> None:
    settings = guarded.settings("router")
    producer = Producer({**producer_config(settings.kafka, guarded_topics), "log_level": 0})
    store = BankStore(guarded.settings("matcher").redis)
    lost: list[str] = []

    def send() -> None:
        producer.produce(
            "alerts", b"alert", partition=0, on_delivery=lambda error, _message: error and lost.append(error.str())
        )
        assert producer.flush(ANSWER_S) == 0

    send()
    store.all_active()
    before = {name: serial(guarded, name) for name in ("kafka", "redis")}
    local_stack.renew(guarded.directory)
    wait_until(lambda: all(serial(guarded, name) != before[name] for name in before), seconds=ANSWER_S)
    send()
    store.all_active()
    store.close()
    assert not lost

    # Who comes anew is shown the new ones, and believes them.
    consumer = Consumer(reader_config(guarded.settings("alarm").kafka, guarded_topics, group="alarm"))
    consumer.assign([TopicPartition("alerts", 0, 0)])
    record = consumer.poll(ANSWER_S)
    assert record is not None
    assert record.error() is None
    consumer.close()


def test_the_registry_shows_its_new_certificate_without_a_restart(
    guarded: GuardedStack, guarded_topics: Topics
) -> None:
    before = serial(guarded, "registry")
    local_stack.renew(guarded.directory)

    def renewed() -> bool:
        try:
            return serial(guarded, "registry") != before
        except (ssl.SSLError, ConnectionError):  # whoever comes in the quarter of a second of its change
            return False

    wait_until(renewed, seconds=REGISTRY_RELOADS_S + ANSWER_S)
    with SchemaRegistry(guarded.settings("matcher").registry) as registry:
        assert registry.id_of(guarded_topics.by_name["images"])


def test_another_authority_for_valkey_counts_at_the_next_connection(guarded: GuardedStack, tmp_path: Path) -> None:
    certificates.make_authority(tmp_path)
    trusted = tmp_path / "ca.crt"
    store = BankStore(guarded.settings("matcher").redis.model_copy(update={"ssl_ca_location": trusted}))
    with pytest.raises(BankUnavailable, match="certificate verify failed"):
        store.all_active()
    trusted.write_bytes(guarded.security.authority.read_bytes())
    store.all_active()
    store.close()


def test_an_open_stack_has_nothing_to_renew(tmp_path) -> None:
    with pytest.raises(DirectoryUnusable, match="--secure"):
        local_stack.renew(tmp_path)
