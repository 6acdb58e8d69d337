"""What runs of an overlay, and what the cluster does when a node is drained, a pod evicted, or too much asked for."""

import json

import pytest

from tests.k8s.control_plane import READY_TIMEOUT_S, ControlPlane, wait_until

NAMESPACE = "chipsieve"
WAIT = f"--timeout={READY_TIMEOUT_S:g}s"
STAGES = ("extractor", "matcher", "router")


@pytest.mark.parametrize("namespace", ["chipsieve-dev", NAMESPACE])
def test_every_service_is_scheduled_and_ready(cluster: ControlPlane, namespace: str) -> None:
    for workload in ("deployment/gateway", *(f"statefulset/{stage}" for stage in (*STAGES, "valkey", "registry"))):
        cluster.kubectl("rollout", "status", workload, f"--namespace={namespace}", WAIT)


def test_the_topics_job_ends(cluster: ControlPlane) -> None:
    cluster.kubectl("wait", "--for=condition=Complete", "job/topics", f"--namespace={NAMESPACE}", WAIT)


def test_every_stages_pods_have_slots_of_their_own(cluster: ControlPlane) -> None:
    _scale(cluster, "matcher", 3)
    pods = _pods(cluster, "matcher")
    assert sorted(pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"] for pod in pods) == ["0", "1", "2"]
    assert len({pod["spec"]["nodeName"] for pod in pods}) == 3, "spread over the nodes"


def test_extractors_of_a_factory_get_a_gpu_each(cluster: ControlPlane) -> None:
    _scale(cluster, "extractor", 2)
    for pod in _pods(cluster, "extractor"):
        assert pod["spec"]["nodeName"].startswith("gpu-")


def test_one_pod_of_a_stage_is_evicted_at_a_time_and_comes_back_in_its_slot(cluster: ControlPlane) -> None:
    _scale(cluster, "matcher", 2)
    wait_until(lambda: _disruptions_allowed(cluster, "matcher") == 1, "the budget allows one")
    cluster.kubectl("cordon", "--selector=kubernetes.io/hostname")  # what is evicted stays away
    try:
        assert _evict(cluster, "matcher-0") == ""
        refused = _evict(cluster, "matcher-1")
        assert "TooManyRequests" in refused or "disruption budget" in refused
    finally:
        cluster.kubectl("uncordon", "--selector=kubernetes.io/hostname")
    cluster.kubectl("rollout", "status", "statefulset/matcher", f"--namespace={NAMESPACE}", WAIT)
    assert {pod["metadata"]["name"] for pod in _pods(cluster, "matcher")} == {"matcher-0", "matcher-1"}
    wait_until(lambda: _evict(cluster, "matcher-1") == "", "now it is the other's turn")


def test_a_node_is_drained_while_every_service_goes_on(cluster: ControlPlane) -> None:
    for stage in STAGES:
        _scale(cluster, stage, 2)
    [node] = {pod["spec"]["nodeName"] for pod in _pods(cluster, "matcher") if pod["metadata"]["name"] == "matcher-0"}
    cluster.kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force", WAIT)
    try:
        for stage in STAGES:
            cluster.kubectl("rollout", "status", f"statefulset/{stage}", f"--namespace={NAMESPACE}", WAIT)
            assert all(pod["spec"]["nodeName"] != node for pod in _pods(cluster, stage))
    finally:
        cluster.kubectl("uncordon", node)


def test_a_changed_setting_rolls_one_pod_at_a_time(cluster: ControlPlane) -> None:
    _scale(cluster, "router", 3)
    setting = "CHIPSIEVE_STREAM__BATCH_SIZE=8"
    cluster.kubectl("set", "env", "statefulset/router", setting, f"--namespace={NAMESPACE}")
    fewest = 3

    def rolled() -> bool:
        nonlocal fewest
        router = cluster.get("statefulset/router", f"--namespace={NAMESPACE}")
        status = router["status"]
        fewest = min(fewest, status.get("readyReplicas", 0))
        seen = status["observedGeneration"] == router["metadata"]["generation"]
        # A number that is nought is left out.
        return seen and status.get("updatedReplicas") == 3 and status.get("currentRevision") == status["updateRevision"]

    wait_until(rolled, "all three updated")
    assert fewest >= 2


@pytest.mark.parametrize("service", ["gateway", *STAGES, "topics"])
def test_a_service_has_no_right_in_the_cluster(cluster: ControlPlane, service: str) -> None:
    user = f"system:serviceaccount:{NAMESPACE}:{service}"
    for verb, kind in (("get", "secrets"), ("list", "pods"), ("create", "pods"), ("patch", "statefulsets.apps")):
        assert not cluster.may(user, verb, kind, NAMESPACE), f"{service} may {verb} {kind}"
    somebody = "system:serviceaccount:kube-system:statefulset-controller"
    assert cluster.may(somebody, "create", "pods", NAMESPACE), "the question can be answered with yes"


def test_a_pod_with_more_rights_is_refused(cluster: ControlPlane) -> None:
    done = cluster.run(
        *("run", "wild", "--image=any", f"--namespace={NAMESPACE}", "--dry-run=server"),
    )
    assert done.returncode != 0
    assert 'violates PodSecurity "restricted' in done.stderr


def test_the_quota_ends_what_runs_wild(cluster: ControlPlane) -> None:
    cluster.kubectl("scale", "statefulset/extractor", "--replicas=8", f"--namespace={NAMESPACE}")
    try:
        wait_until(
            lambda: "exceeded quota" in cluster.kubectl("get", "events", f"--namespace={NAMESPACE}"),
            "the quota refuses",
        )
        assert len(_pods(cluster, "extractor")) == 6
    finally:
        _scale(cluster, "extractor", 2)


def _scale(cluster: ControlPlane, stage: str, replicas: int) -> None:
    workload = f"statefulset/{stage}"
    cluster.kubectl("scale", workload, f"--replicas={replicas}", f"--namespace={NAMESPACE}")
    cluster.kubectl("rollout", "status", workload, f"--namespace={NAMESPACE}", WAIT)
    wait_until(lambda: len(_pods(cluster, stage)) == replicas, f"{replicas} of {stage}")


def _pods(cluster: ControlPlane, service: str) -> list[dict]:
    return cluster.get("pods", f"--namespace={NAMESPACE}", f"--selector=app.kubernetes.io/name={service}")["items"]


def _disruptions_allowed(cluster: ControlPlane, service: str) -> int:
    return cluster.get(f"pdb/{service}", f"--namespace={NAMESPACE}")["status"].get("disruptionsAllowed", 0)


def _evict(cluster: ControlPlane, pod: str) -> str:
    """What the cluster says against it, or nothing."""
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": NAMESPACE}}
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}/eviction"
    return cluster.run("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction)).stderr
