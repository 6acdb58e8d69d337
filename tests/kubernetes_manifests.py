"""The overlays as kustomize builds them, and what their resources must look like."""

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml
from pydantic import BaseModel

from shared.settings import NESTED, PREFIX

ROOT = Path(__file__).parents[1]
K8S = ROOT / "k8s"
CRDS = ROOT / "tests" / "unit" / "kubernetes" / "crds"
OVERLAYS = ("dev", "edge", "factory")
JOBS = {
    "dev": ("train-dev", "operator-dev"),
    "edge": ("train", "operator"),
    "factory": ("train", "operator"),
}
"""The jobs that are applied into an overlay's namespace by themselves."""
WORKLOADS = ("Deployment", "StatefulSet", "Job", "CronJob")
BUILDS = (
    *(K8S / "overlays" / name for name in OVERLAYS),
    *(K8S / "jobs" / name for name in ("train", "train-dev", "operator", "operator-dev")),
)
KUBERNETES = "1.34"
"""The version that the control plane of tests/k8s is built from."""

DOCUMENTATION = (ROOT / "docs" / "kubernetes.md").read_text()

Resource = dict[str, Any]


def has_kustomize() -> bool:
    return shutil.which("kubectl") is not None


@cache
def built_text(folder: Path) -> str:
    done = subprocess.run(["kubectl", "kustomize", str(folder)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr  # a warning, of a deprecated field for instance
    return done.stdout


def built(folder: Path) -> list[Resource]:
    return [resource for resource in yaml.safe_load_all(built_text(folder)) if resource]


def overlay(name: str) -> list[Resource]:
    return built(K8S / "overlays" / name)


def job(name: str) -> list[Resource]:
    return built(K8S / "jobs" / name)


def of_kind(resources: list[Resource], *kinds: str) -> dict[str, Resource]:
    return {resource["metadata"]["name"]: resource for resource in resources if resource["kind"] in kinds}


def pod_spec(resource: Resource) -> Resource:
    spec: Resource = resource["spec"]
    if resource["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    return dict(spec["template"]["spec"])


def pods(resources: list[Resource]) -> list[Resource]:
    return [pod_spec(workload) for workload in of_kind(resources, *WORKLOADS).values()]


def containers(pod: Resource) -> list[Resource]:
    return [*pod["containers"], *pod.get("initContainers", [])]


def secrets_named(resources: list[Resource]) -> set[str]:
    return set(re.findall(r"'secret(?:KeyRef|Name)': (?:{[^}]*'name': )?'([^']+)'", str(resources)))


def claims_named(resources: list[Resource]) -> set[str]:
    return set(re.findall(r"'claimName': '([^']+)'", str(resources)))


def secrets_made(resources: list[Resource]) -> set[str]:
    """By the overlay itself, or by Strimzi from what it declares."""
    strimzis = {f"{cluster}-cluster-ca-cert" for cluster in of_kind(resources, "Kafka")}
    return {*of_kind(resources, "Secret"), *strimzis, *(f"kafka-{user}" for user in of_kind(resources, "KafkaUser"))}


def brought(name: str) -> set[str]:
    """What the documentation says that whoever applies the overlay brings."""
    [row] = re.findall(rf"^\| `{name}` \|.*\| ([^|]*) \|$", DOCUMENTATION, re.MULTILINE)
    return set(re.findall(r"`([^`]+)`", row))


def environment(container: Resource) -> dict[str, Any]:
    return {variable["name"]: variable for variable in container.get("env", [])}


def is_setting(settings: type[BaseModel], variable: str) -> bool:
    model: Any = settings
    for part in variable.removeprefix(PREFIX).lower().split(NESTED):
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            return False
        model = field.annotation
    return True


def validate(resource: Resource) -> None:
    """Raise where a cluster would refuse it or prune something of it."""
    schema = _custom().get((resource["apiVersion"], resource["kind"]))
    if schema:
        jsonschema.validate(resource, schema)
    else:
        kubernetes_validate.validate(resource, KUBERNETES, strict=True)


@cache
def _custom() -> dict[tuple[str, str], Resource]:
    schemas = {}
    for path in CRDS.glob("*.yaml"):
        for crd in yaml.safe_load_all(path.read_text()):
            spec = crd["spec"]
            for version in spec["versions"]:
                schema = _strict(version["schema"]["openAPIV3Schema"])
                schema["properties"]["metadata"] = {"type": "object"}
                schemas[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = schema
    return schemas


def _strict(node: Any) -> Any:
    """With no properties but those named, and with Kubernetes' own words in those of JSON Schema."""
    if isinstance(node, list):
        return [_strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    strict = {key: _strict(value) for key, value in node.items()}
    if strict.get("x-kubernetes-int-or-string") is True:
        strict.pop("anyOf", None)
        strict["type"] = ["integer", "string"]
    if str(strict.get("pattern", "")).startswith("^(?i)"):  # Go's way; Python wants flags in front
        strict["pattern"] = "(?i)^" + strict["pattern"].removeprefix("^(?i)")
    open_ended = strict.get("x-kubernetes-preserve-unknown-fields") is True
    if isinstance(strict.get("properties"), dict) and strict.get("type") == "object" and not open_ended:
        strict.setdefault("additionalProperties", False)
    return strict
