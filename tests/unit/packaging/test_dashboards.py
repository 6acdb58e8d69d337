"""Grafana's dashboards and Prometheus's rules ask for what the services tell, in words that both understand."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from prometheus_client import Counter, Histogram, Info
from prometheus_client.metrics import MetricWrapperBase

from services.cli.demo.observing import QUESTIONS
from shared import metrics

ROOT = Path(__file__).parents[3]
OPS = ROOT / "ops"
FILES = sorted((OPS / "grafana" / "dashboards").glob("*.json"))
DASHBOARDS: dict[str, Any] = {file.name: json.loads(file.read_text()) for file in FILES}
SCHEMA = json.loads(Path(__file__).with_name("grafana_dashboard.schema.json").read_text())
RULES = yaml.safe_load((OPS / "prometheus" / "alerts.yml").read_text())
RUNBOOK = (ROOT / "docs" / "operations.md").read_text()

OF_PROMETHEUS = {"job", "instance", "le", "alertstate"}  # it adds them by itself: to all, to buckets, to its ALERTS
METRICS = [metric for metric in vars(metrics).values() if isinstance(metric, MetricWrapperBase)]
SUFFIXES: dict[type, tuple[str, ...]] = {
    Counter: ("_total",),
    Histogram: ("_bucket", "_sum", "_count"),
    Info: ("_info",),
}
LABELS = {
    metric._name + suffix: {*metric._labelnames, *({"version"} if isinstance(metric, Info) else ())}
    for metric in METRICS
    for suffix in SUFFIXES.get(type(metric), ("",))
}
"""The labels of every series of the catalogue, by its name in a query."""


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, dashboard in DASHBOARDS.items():
        for panel in dashboard["panels"]:
            yield f"{name}: {panel['title']}", panel


QUERIES = (
    {f"{name} {target['refId']}": target["expr"] for name, panel in panels() for target in panel["targets"]}
    | {f"alert {rule['alert']}": rule["expr"] for group in RULES["groups"] for rule in group["rules"]}
    | {f"demo: {question}": expression for question, expression in QUESTIONS.items()}
)


def series_of(text: str) -> set[str]:
    return set(re.findall(r"\bchipsieve_\w+", text))


def labels_in(clause: str, query: str) -> set[str]:
    return {label.strip() for labels in re.findall(clause, query) for label in labels.split(",")}


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_names_series_that_exist_and_labels_that_they_have(name: str) -> None:
    query = re.sub(r'"[^"]*"', '""', QUERIES[name])
    asked = series_of(query)
    assert asked <= LABELS.keys()
    known = OF_PROMETHEUS.union(*(LABELS[series] for series in asked))
    grouped = labels_in(r"\b(?:by|on|ignoring|without)\s*\(([^)]*)\)", query)
    matched = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", query)
    assert grouped | set(matched) <= known
    for series, selector in re.findall(r"(chipsieve_\w+)\{([^}]*)\}", query):
        assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector)) <= LABELS[series] | OF_PROMETHEUS, series


@pytest.mark.parametrize("name", [name for name, _ in panels()])
def test_a_legend_names_labels_that_are_left(name: str) -> None:
    for target in dict(panels())[name]["targets"]:
        grouped = labels_in(r"\bby\s*\(([^)]*)\)", target["expr"])
        left = grouped or OF_PROMETHEUS.union(*(LABELS.get(series, ()) for series in series_of(target["expr"])))
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= left


def test_every_metric_of_the_catalogue_is_on_a_dashboard() -> None:
    shown = {series for _, panel in panels() for target in panel["targets"] for series in series_of(target["expr"])}
    missing = [
        metric._name
        for metric in METRICS
        if not shown & {metric._name + suffix for suffix in SUFFIXES.get(type(metric), ("",))}
    ]
    assert missing == []


def test_the_runbook_names_series_that_exist() -> None:
    base_names = {metric._name for metric in METRICS}  # a histogram as a whole
    assert series_of(RUNBOOK)
    assert series_of(RUNBOOK) <= LABELS.keys() | base_names


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed: apt-get install prometheus")
def test_prometheus_can_read_every_query(tmp_path: Path) -> None:
    """As recording rules, for those promtool reads."""
    rules = [
        {"record": f"query:{number}", "expr": query.replace("$__rate_interval", "5m")}
        for number, query in enumerate(QUERIES.values())
    ]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_is_one_by_grafanas_own_types(name: str) -> None:
    jsonschema.validate(DASHBOARDS[name], SCHEMA)


def test_grafanas_types_refuse_a_field_that_does_not_exist() -> None:
    dashboard = json.loads(FILES[0].read_text())
    dashboard["panels"][0]["gridPosition"] = {"x": 0}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(dashboard, SCHEMA)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_have_numbers_of_their_own_and_do_not_overlap(name: str) -> None:
    found = DASHBOARDS[name]["panels"]
    assert len({panel["id"] for panel in found}) == len(found)
    for one, other in combinations((panel["gridPos"] for panel in found), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in found), "a screen has 24 columns"


def test_every_panel_asks_the_prometheus_that_is_provided() -> None:
    provided = yaml.safe_load((OPS / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text())
    [source] = provided["datasources"]
    for name, panel in panels():
        assert panel["datasource"] == {"type": source["type"], "uid": source["uid"]}, name


def test_the_schema_is_of_the_grafana_that_compose_starts() -> None:
    image = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]["image"]
    assert f"@grafana/schema {image.rpartition(':')[2]} " in SCHEMA["$comment"]


def test_what_is_told_of_each_process_names_its_service() -> None:
    told = [
        *(target["legendFormat"] for _, panel in panels() for target in panel["targets"]),
        *(rule["annotations"]["summary"] for group in RULES["groups"] for rule in group["rules"]),
    ]
    for text in told:
        assert "instance" not in text or "job" in text or "stage" in text, text  # which is an address
