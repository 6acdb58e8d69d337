"""The Kubernetes manifests, as a cluster would see them; without one."""

import re
import subprocess
from pathlib import Path

import jsonschema
import pytest
from pydantic import BaseModel

from services.cli import generate_kubernetes
from services.cli.local_stack import kafka
from services.extractor.settings import ExtractorSettings
from services.extractor.step import ExtractorStep
from services.gateway.settings import GatewaySettings
from services.matcher.settings import MatcherSettings
from services.matcher.step import MatcherStep
from services.router.settings import RouterSettings
from services.router.step import RouterStep
from shared.access import load_access, registry_rights, registry_user
from shared.settings import PREFIX
from shared.stream.loop import DRAIN_BUDGET_S
from shared.topics import load_topics
from tests.kubernetes_manifests import (
    BUILDS,
    DOCUMENTATION,
    OVERLAYS,
    WORKLOADS,
    brought,
    built,
    claims_named,
    containers,
    environment,
    has_kustomize,
    is_setting,
    of_kind,
    overlay,
    pod_spec,
    secrets_made,
    secrets_named,
    validate,
)

pytestmark = pytest.mark.skipif(not has_kustomize(), reason="kubectl is not installed: nothing builds the overlays")

STAGES = {"extractor": ExtractorStep, "matcher": MatcherStep, "router": RouterStep}
SERVICES = {"gateway", *STAGES}
BESIDE_BANKS_MIB = 400  # of a matcher: 250 the process, and what a batch of chips takes
SETTINGS: dict[str, type[BaseModel]] = {
    "gateway": GatewaySettings,
    "extractor": ExtractorSettings,
    "matcher": MatcherSettings,
    "router": RouterSettings,
}


@pytest.mark.parametrize("path", generate_kubernetes.generated(), ids=str)
def test_what_follows_from_the_contracts_is_up_to_date(path: Path) -> None:
    made = generate_kubernetes.generated()[path]
    assert (generate_kubernetes.REPOSITORY / path).read_text() == made, f"{path} is stale: run make k8s"


@pytest.mark.parametrize("folder", BUILDS, ids=lambda folder: folder.name)
def test_every_resource_is_valid_and_has_no_field_that_a_cluster_does_not_know(folder: Path) -> None:
    for resource in built(folder):
        validate(resource)


def test_validation_refuses_a_field_that_does_not_exist() -> None:
    for name, field in (("images", "partition"), ("extractor", "maxReplica")):
        resource = of_kind(overlay("factory"), "KafkaTopic", "ScaledObject")[name]
        with pytest.raises(jsonschema.ValidationError, match=field):
            validate({**resource, "spec": {**resource["spec"], field: 1}})


@pytest.mark.parametrize("folder", BUILDS, ids=lambda folder: folder.name)
def test_no_pod_has_a_right_that_it_does_not_need(folder: Path) -> None:
    for name, workload in of_kind(built(folder), *WORKLOADS).items():
        pod = pod_spec(workload)
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert name in {"kafka", "registry"} or context["readOnlyRootFilesystem"] is True, name
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), name
            assert "memory" in container["resources"]["limits"], name


def test_a_matcher_has_memory_for_the_banks_that_it_holds() -> None:
    matcher = pod_spec(of_kind(overlay("edge"), *WORKLOADS)["matcher"])["containers"][0]
    assert matcher["resources"]["limits"]["memory"] == "1Gi"
    assert MatcherSettings().matching.banks_mib + BESIDE_BANKS_MIB <= 1024


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_service_is_probed_spread_guarded_and_has_time_to_drain(name: str) -> None:
    resources = overlay(name)
    budgets, policies = of_kind(resources, "PodDisruptionBudget"), of_kind(resources, "NetworkPolicy")
    workloads = of_kind(resources, "Deployment", "StatefulSet")
    for service in SERVICES:
        pod = pod_spec(workloads[service])
        [container] = pod["containers"]
        assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        assert pod["topologySpreadConstraints"]
        assert pod["serviceAccountName"] == service
        assert budgets[service]["spec"]["maxUnavailable"] == 1
        assert "Egress" in policies[service]["spec"]["policyTypes"]
        pause_s = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert pod["terminationGracePeriodSeconds"] >= 2 * (pause_s + DRAIN_BUDGET_S)


@pytest.mark.parametrize("name", OVERLAYS)
@pytest.mark.parametrize("stage", STAGES)
def test_a_worker_slot_is_the_ordinal_of_its_pod(name: str, stage: str) -> None:
    [container] = pod_spec(of_kind(overlay(name), "StatefulSet")[stage])["containers"]
    field = environment(container)["CHIPSIEVE_STREAM__WORKER"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert field == "metadata.labels['apps.kubernetes.io/pod-index']"


@pytest.mark.parametrize("name", OVERLAYS)
@pytest.mark.parametrize("service", SETTINGS)
def test_every_variable_is_a_setting(name: str, service: str) -> None:
    resources = overlay(name)
    [container] = pod_spec(of_kind(resources, "Deployment", "StatefulSet")[service])["containers"]
    for variable in environment(container).keys() & {v for v in environment(container) if v.startswith(PREFIX)}:
        assert is_setting(SETTINGS[service], variable), variable
    shared = next(m for n, m in of_kind(resources, "ConfigMap").items() if n.startswith("chipsieve-"))
    for variable in shared["data"]:
        assert any(is_setting(settings, variable) for settings in SETTINGS.values()), variable


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_secret_and_claim_is_made_by_the_overlay_or_by_strimzi_or_said_to_be_the_plants(name: str) -> None:
    resources = overlay(name)
    assert secrets_named(resources)
    assert secrets_named(resources) <= secrets_made(resources) | brought(name)
    assert claims_named(resources) <= brought(name)


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_plants_own_consumers_reach_the_registry_from_where_they_reach_the_brokers(name: str) -> None:
    marked = {"namespaceSelector": {"matchLabels": {"chipsieve.io/kafka-clients": "true"}}}
    [rule] = of_kind(overlay(name), "NetworkPolicy")["registry"]["spec"]["ingress"]
    assert marked in rule["from"]
    for kafka_ in of_kind(overlay(name), "Kafka").values():
        [listener] = kafka_["spec"]["kafka"]["listeners"]
        assert marked in listener["networkPolicyPeers"]


def test_secrets_are_made_as_documented_for_every_user_that_has_one() -> None:
    access = load_access(load_topics())
    made = dict(re.findall(r"create secret generic (valkey|registry) ((?:--from-file=\S+[\s\\]*)+)", DOCUMENTATION))
    users = {secret: set(re.findall(r"--from-file=(\S+)", files)) for secret, files in made.items()}
    assert users["valkey"] == {name for name, principal in access.items() if principal.banks}
    of_the_line = {name for name, principal in access.items() if principal.uses_registry}
    consumers = {"mes", "reject-gate", "alarm"}
    assert users["registry"] == of_the_line - consumers
    assert consumers <= of_the_line


@pytest.mark.parametrize("folder", BUILDS, ids=lambda folder: folder.name)
def test_secrets_are_files_and_neither_environment_nor_arguments(folder: Path) -> None:
    for name, workload in of_kind(built(folder), *WORKLOADS).items():
        for container in containers(pod_spec(workload)):
            assert "secretKeyRef" not in str(container), name
            assert "envFrom" not in container or "secretRef" not in str(container["envFrom"]), name


@pytest.mark.parametrize("name", ["edge", "factory"])
def test_a_plants_services_speak_tls_and_show_a_user_of_their_own(name: str) -> None:
    resources = overlay(name)
    shared = next(m for n, m in of_kind(resources, "ConfigMap").items() if n.startswith("chipsieve-"))["data"]
    assert shared["CHIPSIEVE_KAFKA__SECURITY_PROTOCOL"] == "SASL_SSL"
    assert shared["CHIPSIEVE_REDIS__URL"].startswith("rediss://")
    assert shared["CHIPSIEVE_REGISTRY__URL"].startswith("https://")
    read = [value for variable, value in shared.items() if variable.endswith(("_FILE", "_CA_LOCATION"))]
    for service in SERVICES:
        pod = pod_spec(of_kind(resources, "Deployment", "StatefulSet")[service])
        [container] = pod["containers"]
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        assert {str(Path(path).parent) for path in read} <= mounts.keys(), service
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert volumes[mounts["/etc/chipsieve/kafka-user"]]["secret"]["secretName"] == f"kafka-{service}"
        assert environment(container)["CHIPSIEVE_KAFKA__SASL_USERNAME"]["value"] == service
        assert volumes[mounts["/etc/chipsieve/registry-user"]]["secret"]["items"] == [
            {"key": service, "path": "password"}
        ]
        assert environment(container)["CHIPSIEVE_REGISTRY__USERNAME"]["value"] == service
        if "/etc/chipsieve/valkey" in mounts:
            assert volumes["valkey"]["secret"]["items"] == [{"key": service, "path": "password"}]
            assert environment(container)["CHIPSIEVE_REDIS__USERNAME"]["value"] == service


@pytest.mark.parametrize("name", ["edge", "factory"])
def test_the_registry_is_told_of_its_users_as_the_guarded_local_one_is(name: str, tmp_path: Path) -> None:
    resources = overlay(name)
    pod = pod_spec(of_kind(resources, "StatefulSet")["registry"])
    rights = of_kind(resources, "ConfigMap")["registry-rights"]["data"]["rights.properties"]
    topics = load_topics()
    assert dict(line.split("=", 1) for line in rights.splitlines()) == registry_rights(load_access(topics), topics)

    for user in ("matcher", "operator"):
        (tmp_path / user).write_text(f"{user}'s own")
    [init] = pod["initContainers"]
    script = init["args"][0].replace("/etc/chipsieve/registry", str(tmp_path)).replace("/users/", f"{tmp_path}/.")
    subprocess.run([*init["command"], script], check=True)
    made = dict(line.split("=", 1) for line in (tmp_path / ".users.properties").read_text().splitlines())
    assert made == dict(registry_user(user, f"{user}'s own") for user in ("matcher", "operator"))

    read = environment(pod["containers"][0])["QUARKUS_CONFIG_LOCATIONS"]["value"].split(",")
    mounts = {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert {str(Path(path).parent) for path in read} <= mounts


def test_a_plants_cameras_show_tokens() -> None:
    pod = pod_spec(of_kind(overlay("factory"), "Deployment")["gateway"])
    [container] = pod["containers"]
    file = Path(environment(container)["CHIPSIEVE_GATEWAY__TOKENS_FILE"]["value"])
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes[mounts[str(file.parent)]]["secret"]["items"] == [{"key": file.name, "path": file.name}]


@pytest.mark.parametrize("stage", STAGES)
def test_replicas_follow_the_lag_of_the_stages_group_and_never_outnumber_the_partitions(stage: str) -> None:
    scaled = of_kind(overlay("factory"), "ScaledObject")[stage]["spec"]
    topic = load_topics().topic_of(STAGES[stage].consumes)
    [trigger] = scaled["triggers"]
    assert scaled["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": stage}
    assert trigger["metadata"]["topic"] == topic.name
    assert trigger["metadata"]["consumerGroup"] == f"chipsieve-{stage}"
    assert scaled["maxReplicaCount"] <= topic.partitions
    assert "replicas" not in of_kind(overlay("factory"), "StatefulSet")[stage]["spec"], "an apply would set them back"


@pytest.mark.parametrize("stage", STAGES)
def test_transaction_markers_alone_never_count_as_work(stage: str) -> None:
    scaled = of_kind(overlay("factory"), "ScaledObject")[stage]["spec"]
    markers = load_topics().topic_of(STAGES[stage].consumes).partitions  # one a partition, at its end
    [trigger] = scaled["triggers"]
    assert int(trigger["metadata"]["activationLagThreshold"]) >= markers
    assert int(trigger["metadata"]["lagThreshold"]) > markers


@pytest.mark.parametrize("name", ["edge", "factory"])
def test_strimzis_brokers_take_the_largest_record(name: str) -> None:
    config = of_kind(overlay(name), "Kafka")["chipsieve"]["spec"]["kafka"]["config"]
    wanted = kafka.broker_settings(load_topics())
    for setting in ("message.max.bytes", "replica.fetch.max.bytes", "replica.fetch.response.max.bytes"):
        assert str(config[setting]) == wanted[setting]


def test_every_broker_keeps_offsets_longer_than_records() -> None:
    wanted = kafka.broker_settings(load_topics())["offsets.retention.minutes"]
    for name in ("edge", "factory"):
        config = of_kind(overlay(name), "Kafka")["chipsieve"]["spec"]["kafka"]["config"]
        assert str(config["offsets.retention.minutes"]) == wanted
    [broker] = of_kind(overlay("dev"), "StatefulSet")["kafka"]["spec"]["template"]["spec"]["containers"]
    assert environment(broker)["KAFKA_OFFSETS_RETENTION_MINUTES"]["value"] == wanted


def test_a_plants_records_survive_a_broker() -> None:
    resources = overlay("factory")
    config = of_kind(resources, "Kafka")["chipsieve"]["spec"]["kafka"]["config"]
    assert of_kind(resources, "KafkaNodePool")["brokers"]["spec"]["replicas"] == 3
    assert (config["default.replication.factor"], config["min.insync.replicas"]) == (3, 2)
    assert (config["transaction.state.log.replication.factor"], config["transaction.state.log.min.isr"]) == (3, 2)


def test_a_reject_gate_may_read_rejects_and_nothing_else() -> None:
    acls = of_kind(overlay("factory"), "KafkaUser")["reject-gate"]["spec"]["authorization"]["acls"]
    topics = [acl for acl in acls if acl["resource"]["type"] == "topic"]
    assert [(acl["resource"]["name"], acl["operations"]) for acl in topics] == [("rejects", ["Read"])]
    assert {acl["resource"]["type"] for acl in acls} == {"topic", "group"}


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_service_reaches_what_it_stands_on_and_nothing_else(name: str) -> None:
    policies = of_kind(overlay(name), "NetworkPolicy")
    closed = policies["deny-all"]["spec"]
    assert closed["policyTypes"] == ["Ingress", "Egress"]
    assert not closed.keys() & {"ingress", "egress"}
    stands_on = {"gateway": {"kafka", "registry"}, "router": {"kafka", "registry"}, "topics": {"kafka", "registry"}}
    stands_on |= {stage: {"kafka", "registry", "valkey"} for stage in ("extractor", "matcher")}
    for service, wanted in stands_on.items():
        peers = [peer for rule in policies[service]["spec"]["egress"] for peer in rule["to"]]
        assert all(peer.keys() == {"podSelector"} for peer in peers), "of its own namespace alone"
        labels = [peer["podSelector"]["matchLabels"] for peer in peers]
        reached = {label.get("chipsieve.io/backing") or label["strimzi.io/name"] for label in labels}
        assert {each.removeprefix("chipsieve-") for each in reached} == wanted, service
