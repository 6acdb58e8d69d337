"""Three Kafka nodes, each broker and controller, with the settings that the overlay `factory` gives to Strimzi's."""

import subprocess
from collections.abc import Collection, Mapping
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ClusterMetadata

from services.cli.local_stack import kafka, ports
from services.cli.local_stack.artifacts import fetch
from shared.topics import load_topics
from tests.kafka_records import wait_for

NODES = (1, 2, 3)
PATIENCE_S = 180.0  # three that start at once on two busy cores
ANSWER_S = 2.0


class Brokers:
    """Nodes that can be killed and started again. They keep their addresses.

    Args:
        home: gets data and logs.
        settings: of each broker, beside those that a lone one has.
    """

    def __init__(self, home: Path, settings: Mapping[str, str]) -> None:
        names = [f"{kind}-{node}" for node in NODES for kind in ("kafka", "kafka-controller")]
        chosen = ports.choose(dict.fromkeys(names), {})
        quorum = ",".join(f"{node}@{ports.HOST}:{chosen[f'kafka-controller-{node}']}" for node in NODES)
        artifacts, topics = fetch(), load_topics()
        self._home = home
        self._servers = {
            node: kafka.server(
                home / str(node),
                {kind: chosen[f"{kind}-{node}"] for kind in ("kafka", "kafka-controller")},
                topics,
                artifacts,
                None,
                changed={**settings, "node.id": str(node), "controller.quorum.voters": quorum},
            )
            for node in NODES
        }
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self.bootstrap_servers = ",".join(f"{ports.HOST}:{chosen[f'kafka-{node}']}" for node in NODES)
        # log_level 0: that a broker is away is no news here.
        self.admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})

    def start(self, *nodes: int) -> None:
        """Start nodes; they answer some seconds later."""
        for node in nodes:
            (self._home / str(node)).mkdir(parents=True, exist_ok=True)
            with (self._home / f"{node}.log").open("ab") as log:
                self._servers[node].prepare(log.fileno())
                self._running[node] = subprocess.Popen(
                    self._servers[node].command, cwd=self._home / str(node), stdout=log, stderr=log
                )

    def kill(self, *nodes: int) -> None:
        """SIGKILL, all at once."""
        for node in nodes:
            self._running[node].kill()
        for node in nodes:
            self._running.pop(node).wait()

    def stop(self) -> None:
        """End all."""
        self.kill(*self._running)

    def wait_until_in_sync(self, topics: Collection[str] = ()) -> None:
        """Return when all three are there, and every replica of these topics is as far as its leader."""

        def in_sync() -> bool:
            try:
                metadata = self.metadata()
            except KafkaException:
                return False
            if len(metadata.brokers) < len(NODES) or not metadata.topics.keys() >= set(topics):
                return False
            partitions = [found for topic in topics for found in metadata.topics[topic].partitions.values()]
            return all(len(each.isrs) == len(NODES) for each in partitions)

        wait_for(in_sync, "three brokers in sync", patience_s=PATIENCE_S)

    def metadata(self) -> ClusterMetadata:
        """What a broker knows of all."""
        return self.admin.list_topics(timeout=ANSWER_S)

    def coordinator(self, topic: str, name: str) -> int:
        """The node that keeps a group's offsets (``__consumer_offsets``) or a transaction (``__transaction_state``)."""
        partitions = self.metadata().topics[topic].partitions
        return int(partitions[_java_hash(name) % len(partitions)].leader)


def _java_hash(text: str) -> int:
    """Of an ASCII string, as Kafka finds the partition that keeps a name."""
    value = 0
    for character in text:
        value = (31 * value + ord(character)) & 0xFFFFFFFF
    return value & 0x7FFFFFFF
