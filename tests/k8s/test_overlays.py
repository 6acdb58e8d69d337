"""Every overlay, applied as a plant would: server-side, strictly, without a warning."""

import pytest
import yaml

from tests.k8s.control_plane import ControlPlane
from tests.kubernetes_manifests import BUILDS, OVERLAYS, built, built_text, of_kind, overlay

NAMESPACES = {"dev": "chipsieve-dev", "edge": "chipsieve", "factory": "chipsieve"}


@pytest.mark.parametrize("name", OVERLAYS)  # factory comes upon edge: a plant that grows
def test_an_overlay_is_applied_without_error_or_warning(cluster: ControlPlane, name: str) -> None:
    resources = overlay(name)
    done = cluster.run(
        *("apply", "--server-side", "--validate=strict", "-f", "-"),
        stdin=yaml.safe_dump_all(resources, sort_keys=False),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == len(resources)


@pytest.mark.parametrize("name", ["dev", "factory"])
def test_applying_it_again_changes_nothing(cluster: ControlPlane, name: str) -> None:
    stateful = {name: s["metadata"]["generation"] for name, s in _stateful(cluster, NAMESPACES[name]).items()}
    done = cluster.run("apply", "--server-side", "--validate=strict", "-f", "-", stdin=built_text(_folder(name)))
    assert (done.returncode, done.stderr) == (0, "")
    assert {name: s["metadata"]["generation"] for name, s in _stateful(cluster, NAMESPACES[name]).items()} == stateful


@pytest.mark.parametrize("name", ["train", "operator", "train-dev", "operator-dev"])
def test_a_job_is_applied_without_error_or_warning(cluster: ControlPlane, name: str) -> None:
    namespace = NAMESPACES["dev" if name.endswith("-dev") else "factory"]
    done = cluster.run(
        *("apply", "--server-side", "--validate=strict", f"--namespace={namespace}", "-f", "-"),
        stdin=built_text(_folder(name)),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert of_kind(built(_folder(name)), "Job")


def test_a_field_that_does_not_exist_is_refused(cluster: ControlPlane) -> None:
    matcher = of_kind(overlay("dev"), "StatefulSet")["matcher"]
    matcher = {**matcher, "spec": {**matcher["spec"], "replica": 3}}
    done = cluster.run("apply", "--server-side", "--validate=strict", "-f", "-", stdin=yaml.safe_dump(matcher))
    assert done.returncode != 0
    assert "replica" in done.stderr


def _folder(name: str):
    return next(folder for folder in BUILDS if folder.name == name)


def _stateful(cluster: ControlPlane, namespace: str) -> dict[str, dict]:
    return of_kind(cluster.get("statefulsets", f"--namespace={namespace}")["items"], "StatefulSet")
