"""The real KEDA, asking a real Kafka, scales a stage on the control plane; every pod that runs has a worker."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import pytest

from shared.events import FeaturesExtracted
from shared.settings import Settings
from shared.topics import Topics
from tests.k8s import keda
from tests.k8s.control_plane import READY_TIMEOUT_S, ControlPlane, wait_until
from tests.k8s.workforce import Backlog, Clock, Workforce
from tests.kubernetes_manifests import of_kind, overlay

NAMESPACE = "chipsieve"
STAGE = "matcher"
PARTITIONS = 6
RECORDS_PER_S = 60  # a worker's pace
CHIPS = 6000


@dataclass
class Line:
    """A stage's group on the broker, its pods on the cluster, and what is seen of both."""

    cluster: ControlPlane
    backlog: Backlog
    workforce: Workforce
    clock: Clock = field(default_factory=Clock)
    seen: list[tuple[float, int, int]] = field(default_factory=list)
    """Seconds, lag, replicas; wherever the replicas changed."""

    def look(self) -> tuple[int, int]:
        """Lag and replicas now; the workers follow the pods that run."""
        pods = self.cluster.get("pods", f"--namespace={NAMESPACE}", f"--selector=app.kubernetes.io/name={STAGE}")
        self.workforce.become(sum(pod["status"]["phase"] == "Running" for pod in pods["items"]))
        replicas = self.cluster.get(f"statefulset/{STAGE}", f"--namespace={NAMESPACE}")["spec"]["replicas"]
        lag = self.backlog.lag()
        if not self.seen or self.seen[-1][2] != replicas:
            self.seen.append((self.clock.seconds, lag, replicas))
            print(f"{self.clock.seconds:8.1f} s   lag {lag:6}   replicas {replicas}", flush=True)
        return lag, replicas

    def wait_for_replicas(self, number: int) -> None:
        wait_until(lambda: self.look()[1] == number, f"{number} replicas", every_s=0.5)


@pytest.fixture
def line(cluster: ControlPlane, topics: Topics) -> Iterator[Line]:
    settings = Settings()
    topic, group = topics.topic_of(FeaturesExtracted), f"{settings.topic_prefix}chipsieve-{STAGE}"
    backlog = Backlog(settings.kafka, topics, topic, group)
    workforce = Workforce(settings.kafka, topics, topic, group, RECORDS_PER_S)
    for name in of_kind(overlay("factory"), "ScaledObject").keys() - {STAGE}:
        cluster.kubectl("delete", "scaledobject", name, f"--namespace={NAMESPACE}")
    cluster.apply(_scaled_object(settings.kafka.bootstrap_servers, topic.name, group, at_least=2))
    keda.start(cluster, NAMESPACE)
    try:
        yield Line(cluster, backlog, workforce)
    finally:
        workforce.become(0)
        backlog.close()


def test_replicas_follow_the_lag_up_to_the_partitions_and_down_again(line: Line) -> None:
    line.cluster.kubectl(
        *(
            "wait",
            "--for=condition=Ready",
            f"scaledobject/{STAGE}",
            f"--namespace={NAMESPACE}",
            f"--timeout={READY_TIMEOUT_S:g}s",
        )
    )
    line.wait_for_replicas(2)

    print(f"\n{CHIPS} chips arrive; a worker does {RECORDS_PER_S} a second")
    line.clock.start()
    line.backlog.put(CHIPS)
    line.wait_for_replicas(PARTITIONS)
    drained = wait_until(lambda: line.look()[0] <= PARTITIONS and line.clock.seconds, "drained", every_s=0.5)
    print(f"{drained:8.1f} s   drained; what is left are markers of transactions: {line.backlog.lag()}")
    line.wait_for_replicas(2)
    assert max(replicas for _, _, replicas in line.seen) == PARTITIONS

    # Idle is not zero, and still is no work: where a plant wants it, the last worker goes as well, …
    assert 0 < line.backlog.lag() <= PARTITIONS
    minimum = '{"spec": {"minReplicaCount": 0}}'
    line.cluster.kubectl(
        *("patch", "scaledobject", STAGE, f"--namespace={NAMESPACE}", "--type=merge", f"--patch={minimum}")
    )
    line.wait_for_replicas(0)

    # … and comes back with the chips. (A pod that is still going would do them.)
    wait_until(lambda: line.look() and not line.workforce.number, "the last worker gone", every_s=0.5)
    print("a batch of 16 chips arrives")
    line.clock.start()
    line.backlog.put(16)
    wait_until(lambda: line.look()[1] > 0, "a worker", every_s=0.5)
    wait_until(lambda: line.look()[0] <= PARTITIONS, "drained", every_s=0.5)


def _scaled_object(bootstrap_servers: str, topic: str, group: str, *, at_least: int) -> dict[str, Any]:
    """The factory's own, but for where Kafka is, and for how slowly it goes down."""
    scaled = deepcopy(of_kind(overlay("factory"), "ScaledObject")[STAGE])
    spec = scaled["spec"]
    [trigger] = spec["triggers"]
    trigger.pop("authenticationRef")
    trigger["metadata"] |= {"bootstrapServers": bootstrap_servers, "topic": topic, "consumerGroup": group}
    spec |= {"minReplicaCount": at_least, "cooldownPeriod": 10}
    spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"] = {
        "stabilizationWindowSeconds": 10,
        "policies": [{"type": "Pods", "value": 1, "periodSeconds": 5}],
    }
    return scaled
