"""The jobs that are applied by themselves, against what the overlays that they are applied into have."""

from pathlib import Path

import pytest

from services.extractor.settings import ExtractorSettings
from shared.access import load_access
from shared.settings import NESTED, PREFIX
from shared.topics import load_topics
from tests.kubernetes_manifests import (
    JOBS,
    OVERLAYS,
    brought,
    claims_named,
    containers,
    environment,
    has_kustomize,
    is_setting,
    job,
    of_kind,
    overlay,
    pods,
    secrets_made,
    secrets_named,
)

pytestmark = pytest.mark.skipif(not has_kustomize(), reason="kubectl is not installed: nothing builds the overlays")

APPLIED = [(name, applied) for name in OVERLAYS for applied in JOBS[name]]


@pytest.mark.parametrize(("name", "applied"), APPLIED)
def test_a_job_mounts_what_there_is_where_it_is_applied(name: str, applied: str) -> None:
    named = secrets_named(job(applied))
    assert named
    assert named <= secrets_made(overlay(name)) | brought(name)
    assert claims_named(job(applied)) <= brought(name)
    mounted = {volume["name"] for pod in pods(job(applied)) for volume in pod["volumes"]}
    used = {mount["name"] for pod in pods(job(applied)) for each in containers(pod) for mount in each["volumeMounts"]}
    assert mounted == used, "volumes that nothing mounts would be asked for all the same"


@pytest.mark.parametrize(("name", "applied"), APPLIED)
def test_a_job_reaches_what_it_stands_on_as_the_services_do(name: str, applied: str) -> None:
    shared = next(m for n, m in of_kind(overlay(name), "ConfigMap").items() if n.startswith("chipsieve-"))["data"]
    reached = 0
    for pod in pods(job(applied)):
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in containers(pod):
            given = {variable: field["value"] for variable, field in environment(container).items()}
            backings = {variable.rpartition("__")[0] for variable in given if variable.startswith(PREFIX)}
            for backing in backings:  # the settings of the services, no more and no less, but for users of its own
                wanted = {v: value for v, value in shared.items() if v.startswith(backing + NESTED)}
                own = {f"{backing}__USERNAME", f"{backing}__SASL_USERNAME", "CHIPSIEVE_REDIS__PASSWORD_FILE"}
                assert {v: value for v, value in given.items() if v.startswith(backing) and v not in own} == wanted
                reached += 1
            assert all(is_setting(ExtractorSettings, variable) for variable in given if variable.startswith(PREFIX))
            mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            files = {value for variable, value in given.items() if variable.endswith(("_FILE", "_CA_LOCATION"))}
            assert {str(Path(file).parent) for file in files} <= mounts.keys()
            assert set(mounts.values()) <= volumes
    assert reached


@pytest.mark.parametrize(("name", "applied"), [(name, applied) for name, applied in APPLIED if "operator" in applied])
def test_an_operators_commands_get_through_as_users_of_their_own(name: str, applied: str) -> None:
    [pod] = pods(job(applied))
    by_user = {container["name"]: container for container in pod["containers"]}
    access = load_access(load_topics())
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for user, container in by_user.items():
        users = {v["value"] for variable, v in environment(container).items() if variable.endswith("USERNAME")}
        assert users == {user}
        assert user in access
        mounted = [volumes[mount["name"]] for mount in container["volumeMounts"]]
        keys = {item["key"] for volume in mounted if "secret" in volume for item in volume["secret"]["items"]}
        assert keys <= {user, "password", "ca.crt"}, "another's password"
    assert (access["operator"].banks, access["trainer"].banks) == ("read", "write")
    for each in by_user.values():
        assert each["stdin"] is True
        assert each["command"] == ["cat"], "it ends with its input, which is never closed"


@pytest.mark.parametrize(("name", "applied"), APPLIED)
def test_a_job_may_go_where_its_settings_lead_and_is_let_in(name: str, applied: str) -> None:
    policies = of_kind(overlay(name), "NetworkPolicy")
    [label] = {each["metadata"]["labels"]["app.kubernetes.io/name"] for each in of_kind(job(applied), "Job").values()}
    [own] = of_kind(job(applied), "NetworkPolicy").values()
    assert own["spec"]["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": label}}
    services = [*policies["extractor"]["spec"]["egress"]]
    variables = {v for pod in pods(job(applied)) for each in containers(pod) for v in environment(each)}
    wanted = [
        rule
        for backing, rule in zip(("KAFKA__BOOTSTRAP_SERVERS", "REGISTRY__URL", "REDIS__URL"), services, strict=True)
        if PREFIX + backing in variables
    ]
    assert wanted
    assert own["spec"]["egress"] == wanted, "as an extractor, which goes to all three"
    for backing in ("registry", "valkey"):
        if f"'{backing}'" in str(wanted):
            assert label in str(policies[backing]["spec"]["ingress"])
