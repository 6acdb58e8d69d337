"""librdkafka takes the configurations, and they say what delivery needs. What they do is tested on a real broker."""

from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import ConfigResource, NewTopic

from services.cli.local_stack import certificates
from shared.errors import ConfigurationError
from shared.kafka import BrokerUnavailable, consumer_config, create_topics, producer_config, reader_config, unavailable
from shared.kafka import transactional_producer_config as transactional
from shared.settings import KafkaSettings
from shared.topics import load_topics

NOBODY = KafkaSettings(bootstrap_servers="127.0.0.1:9")  # the discard port: nothing listens
TOPICS = load_topics()


@pytest.mark.parametrize("config", [consumer_config(NOBODY, TOPICS, "group"), reader_config(NOBODY, TOPICS)])
def test_consumers_see_committed_records_only_and_never_commit_by_themselves(config):
    Consumer({**config, "log_level": 0}).close()

    assert config["isolation.level"] == "read_committed"
    assert config["enable.auto.commit"] is False


@pytest.mark.parametrize("config", [producer_config(NOBODY, TOPICS), transactional(NOBODY, TOPICS, "stage-0")])
def test_producers_write_each_record_once_to_all_replicas(config):
    Producer({**config, "log_level": 0})

    assert config["enable.idempotence"] is True
    assert config["acks"] == "all"


def test_a_worker_keeps_its_transactional_id_and_timeout():
    config = transactional(NOBODY, TOPICS, "stage-0", transaction_timeout_ms=5000)

    assert (config["transactional.id"], config["transaction.timeout.ms"]) == ("stage-0", 5000)


def test_credentials_reach_every_client(tmp_path: Path):
    authority, password = tmp_path / "ca.crt", tmp_path / "password"
    certificates.make_authority(tmp_path)
    password.write_text("secret\n")
    settings = KafkaSettings(
        security_protocol="SASL_SSL", sasl_username="matcher", sasl_password_file=password, ssl_ca_location=authority
    )

    for config in (
        consumer_config(settings, TOPICS, "g"),
        reader_config(settings, TOPICS),
        producer_config(settings, TOPICS),
        transactional(settings, TOPICS, "t"),
    ):
        assert config["security.protocol"] == "SASL_SSL"
        assert config["sasl.username"] == "matcher"
        assert config["sasl.password"] == "secret"
        assert config["ssl.ca.location"] == str(authority)


def test_a_broker_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shared.kafka.ADMIN_TIMEOUT_S", 0.5)

    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:9.*CHIPSIEVE_KAFKA__BOOTSTRAP_SERVERS"):
        create_topics(NOBODY, TOPICS)


def test_where_no_broker_answers_a_user_whom_it_may_not_know_is_named():
    nobody = KafkaSettings(
        bootstrap_servers="127.0.0.1:9", security_protocol="SASL_PLAINTEXT", sasl_username="trainer", sasl_password="x"
    )
    silence = KafkaException(KafkaError(KafkaError._TIMED_OUT))

    assert "knows the user trainer with this password" in str(unavailable(nobody, silence))
    assert "user" not in str(unavailable(NOBODY, silence))


class AdminWithoutTheRightToDescribe:
    """A client whose user may make topics, all of which are there, and not see their settings."""

    def __init__(self, config: object) -> None:
        self.brokers = {1: None}
        self.topics = {
            topic.name: SimpleNamespace(partitions=range(topic.partitions)) for topic in TOPICS.by_name.values()
        }

    def create_topics(self, wanted: list[NewTopic], **_: float) -> dict[str, Future]:
        return {topic.topic: failed(KafkaError.TOPIC_ALREADY_EXISTS) for topic in wanted}

    def list_topics(self, **_: float) -> "AdminWithoutTheRightToDescribe":
        return self

    def describe_configs(self, resources: list[ConfigResource], **_: float) -> dict[ConfigResource, Future]:
        return {resource: failed(KafkaError.TOPIC_AUTHORIZATION_FAILED) for resource in resources}


def failed(code: int) -> Future:
    future = Future()
    future.set_exception(KafkaException(KafkaError(code)))
    return future


def test_who_may_not_see_the_settings_of_topics_is_told_what_right_it_lacks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shared.kafka.AdminClient", AdminWithoutTheRightToDescribe)

    with pytest.raises(ConfigurationError, match=r"topic images cannot be looked at: .*schemas/access\.yaml"):
        create_topics(NOBODY, TOPICS)
