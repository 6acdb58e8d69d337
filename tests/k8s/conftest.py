"""One control plane for all tests, with the operators' custom resources installed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.k8s.binaries import binaries
from tests.k8s.control_plane import ControlPlane
from tests.k8s.distil_crds import crd_files
from tests.kubernetes_manifests import CRDS, OVERLAYS, of_kind, overlay

ORDER = [
    "test_overlays.py",
    "test_running.py",
    "test_autoscaling.py",
    "test_rolling_update.py",
]  # each goes on with what the one before left


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    plane = ControlPlane(binaries(), tmp_path_factory.mktemp("cluster"))
    try:
        plane.start()
        for path in [*crd_files(), CRDS / "strimzi.yaml"]:
            plane.kubectl("apply", "--server-side", "-f", str(path))
        plane.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=120s")
        for name in OVERLAYS:
            plane.apply(next(resource for resource in overlay(name) if resource["kind"] == "Namespace"))
        plane.apply(*_secrets())
        yield plane
    finally:
        plane.stop()


def _secrets() -> list[dict[str, Any]]:
    """Those that Strimzi makes for its users and its authority, and that a plant makes itself."""
    users = of_kind(overlay("factory"), "KafkaUser")
    keys: dict[str, tuple[str, ...]] = {f"kafka-{user}": ("password",) for user in users} | {
        "registry": ("extractor", "gateway", "matcher", "operator", "router"),
        "valkey": ("extractor", "matcher", "operator", "trainer"),
        "valkey-tls": ("tls.crt", "tls.key", "ca.crt"),
        "registry-tls": ("tls.crt", "tls.key", "ca.crt"),
        "gateway-tokens": ("tokens",),
        "chipsieve-cluster-ca-cert": ("ca.crt",),
    }
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": "chipsieve"},
            "stringData": dict.fromkeys(names, "known to this test alone"),
        }
        for name, names in keys.items()
    ]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: ORDER.index(Path(item.fspath).name))
