"""One Kafka node in KRaft mode: broker and controller in one process."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from services.cli.local_stack import jvm
from services.cli.local_stack.artifacts import Artifacts
from services.cli.local_stack.errors import ServerFailed
from services.cli.local_stack.java_properties import write_properties
from services.cli.local_stack.ports import HOST
from services.cli.local_stack.security import BROKER, Security
from services.cli.local_stack.server import Endpoint, Server
from shared.topics import Topics

# Fixed: an id drawn at random may begin with a dash, which the format tool takes for an option. Base64 of 16 bytes.
CLUSTER_ID = "Q2hpcHNpZXZlLWxvY2FsMQ"
# Relative: `log.dirs` is a list, which a comma in a path would cut in two, and there is no way to escape one.
DATA = "data"
HEAP_MB = 512
READY_TIMEOUT_S = 1.0
CERTIFIED_LISTENERS = ("SASL_SSL", "INTERNAL")
"""Those of a guarded node that take a new certificate while it runs; the controller's does not (KAFKA-20583)."""


def broker_settings(topics: Topics) -> dict[str, str]:
    """What makes this broker behave as Chipsieve expects; `docker-compose.yml` gives its broker the same."""
    return {
        # Limits on a record's size agree everywhere (schemas/topics.yaml).
        "message.max.bytes": str(topics.max_message_bytes),
        "replica.fetch.max.bytes": str(topics.max_message_bytes),
        "replica.fetch.response.max.bytes": str(max(10 * 1024 * 1024, topics.max_message_bytes)),
        # Where a stage stands, and what it noted there, must not be forgotten before the records are (14 days at most):
        # it would judge again whatever is left. The default of a week runs from the last commit, once no worker is
        # there.
        "offsets.retention.minutes": str(60 * 24 * 60),
        # A mistyped topic is an error, not a new topic with default limits.
        "auto.create.topics.enable": "false",
        # One node holds the only copy.
        "default.replication.factor": "1",
        "min.insync.replicas": "1",
        "offsets.topic.replication.factor": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        # The default of 50 partitions each is meant for large clusters and costs the first transaction a second.
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.num.partitions": "4",
        # A dead worker's transaction is ended when its own timeout is over, not up to ten seconds later.
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
        # Consumers of the new group protocol (KIP-848) are tuned here and not by themselves: a dead worker's partitions
        # move after 10 s; assignments travel with heartbeats, so these are frequent; a single group may go lower.
        "group.consumer.session.timeout.ms": "10000",
        "group.consumer.min.session.timeout.ms": "1000",
        "group.consumer.heartbeat.interval.ms": "500",
        "group.consumer.min.heartbeat.interval.ms": "100",
        # The same for the classic protocol, which a plant's own consumers may use.
        "group.min.session.timeout.ms": "1000",
        "group.initial.rebalance.delay.ms": "0",
        # The default of 128 MiB would be a quarter of the heap, for two small compacted topics.
        "log.cleaner.dedupe.buffer.size": "16777216",
    }


def endpoint(port: int, internal_port: int | None = None, security: Security | None = None) -> Endpoint:
    """Bootstrap servers; of a guarded broker, readiness is asked on the internal listener, which needs no users yet."""
    if security is None:
        return Endpoint(f"{HOST}:{port}", lambda: _answers({"bootstrap.servers": f"{HOST}:{port}"}))
    return Endpoint(f"{HOST}:{port}", lambda: _answers(own_client(internal_port, security)))


def own_client(internal_port: int | None, security: Security) -> dict[str, str]:
    """A client configuration for the stack itself, as superuser."""
    return {"bootstrap.servers": f"{HOST}:{internal_port}", **security.own_client()}


def server(
    home: Path,
    ports: Mapping[str, int],
    topics: Topics,
    artifacts: Artifacts,
    security: Security | None,
    *,
    changed: Mapping[str, str] = MappingProxyType({}),
    full_compiler: bool = False,
) -> Server:
    """The node, with its data below `home`; `ports` are ``kafka``, ``kafka-controller`` and ``kafka-internal``.

    `changed` settings are those of a node that is not alone, `full_compiler` is for one that runs for long. It is to be
    started in `home`.
    """
    properties = home / "server.properties"
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{HOST}:{ports['kafka-controller']}",
        "controller.listener.names": "CONTROLLER",
        **(_guarded(ports, security) if security else _open(ports)),
        **broker_settings(topics),
        **changed,
    }
    java = [
        *jvm.command(artifacts, heap_mb=HEAP_MB, full_compiler=full_compiler),
        "-Dlog4j2.level=WARN",  # at INFO a start alone logs six hundred lines
        "-cp",
        f"{artifacts.kafka}/*",
    ]

    def prepare(lock: int) -> None:
        if not (home / DATA).exists():
            _format(home, settings, java, lock)
        write_properties(properties, settings | {"log.dirs": DATA})

    return Server(
        name="kafka", command=[*java, "kafka.Kafka", str(properties)], environment=jvm.ENVIRONMENT, prepare=prepare
    )


def _open(ports: Mapping[str, int]) -> dict[str, str]:
    return {
        "listeners": f"PLAINTEXT://{HOST}:{ports['kafka']},CONTROLLER://{HOST}:{ports['kafka-controller']}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{ports['kafka']}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
    }


def _guarded(ports: Mapping[str, int], security: Security) -> dict[str, str]:
    """Clients by TLS and SCRAM, with the rights they have and no others; the node itself by its certificate.

    Not by a user of SCRAM: its first one would have to be given to the format tool on a command line.
    """
    return {
        "listeners": (
            f"SASL_SSL://{HOST}:{ports['kafka']},INTERNAL://{HOST}:{ports['kafka-internal']},"
            f"CONTROLLER://{HOST}:{ports['kafka-controller']}"
        ),
        "advertised.listeners": f"SASL_SSL://{HOST}:{ports['kafka']},INTERNAL://{HOST}:{ports['kafka-internal']}",
        "listener.security.protocol.map": "SASL_SSL:SASL_SSL,INTERNAL:SSL,CONTROLLER:SSL",
        "inter.broker.listener.name": "INTERNAL",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(security.file(BROKER, "pem")),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(security.authority),
        "listener.name.internal.ssl.client.auth": "required",
        "listener.name.controller.ssl.client.auth": "required",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "false",
        "super.users": f"User:CN={BROKER}",
    }


def _answers(client: dict[str, str]) -> bool:
    """Whether the broker has registered itself and answers for its metadata."""
    try:
        # log_level 0: that a broker which is starting refuses connections is no news.
        admin = AdminClient({**client, "log_level": 0, "error_cb": lambda _error: None})
        return len(admin.list_topics(timeout=READY_TIMEOUT_S).brokers) == 1
    except KafkaException:
        return False


def _format(home: Path, settings: dict[str, str], java: list[str], lock: int) -> None:
    """Format the log directory, which gets its name when it is whole: nothing starts from an interrupted format."""
    unfinished = home / f"{DATA}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    properties = home / "format.properties"
    write_properties(properties, settings | {"log.dirs": unfinished.name})
    done = subprocess.run(
        [*java, "kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER_ID, "--config", str(properties)],
        cwd=home,
        env=os.environ | jvm.ENVIRONMENT,
        pass_fds=[lock],  # `down` waits for a format whose `up` was killed
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ServerFailed(f"Kafka's storage cannot be formatted:\n{(done.stdout + done.stderr).strip()}")
    properties.unlink()
    unfinished.rename(home / DATA)
