"""Make the Kubernetes resources that follow from the contracts: topics, users with their rights, alerts.

    python -m services.cli.generate_kubernetes        (`make k8s`)

Strimzi's operator makes topics and users of them, Prometheus's operator the alerts. Valkey and the
registry read their users' rules when they start.
"""

from pathlib import Path
from typing import Any

import yaml

from shared.access import Principal, ResourceKind, kafka_rules, load_access, redis_rules, registry_rights
from shared.topics import SCHEMAS, Topic, Topics, load_topics

REPOSITORY = SCHEMAS.parent
COMPONENTS = Path("k8s", "components")
CLUSTER = {"strimzi.io/cluster": "chipsieve"}
NOTICE = "# Made by `make k8s` from {source}; change that, not this.\n"

# As Strimzi spells them.
RESOURCES: dict[ResourceKind, str] = {
    "topic": "topic",
    "group": "group",
    "transactional_id": "transactionalId",
    "cluster": "cluster",
}
PATTERNS = {"literal": "literal", "prefixed": "prefix"}

Resource = dict[str, Any]


def generated() -> dict[Path, str]:
    """Every file that is made, by its path in the repository."""
    topics = load_topics()
    access = load_access(topics)
    users = [_user(name, principal, topics) for name, principal in access.items() if principal.uses_kafka]
    alerts = yaml.safe_load((REPOSITORY / "ops" / "prometheus" / "alerts.yml").read_text())
    return {
        COMPONENTS / "strimzi" / "topics.yaml": _file("schemas/topics.yaml", map(_topic, topics.by_name.values())),
        COMPONENTS / "strimzi" / "users.yaml": _file("schemas/access.yaml", users),
        COMPONENTS / "valkey" / "users.yaml": _file("schemas/access.yaml", [_valkey_users(access)]),
        COMPONENTS / "security" / "registry-rights.yaml": _file("schemas/access.yaml", [_registry(access, topics)]),
        COMPONENTS / "monitoring" / "alerts.yaml": _file("ops/prometheus/alerts.yml", [_rules(alerts)]),
    }


def _file(source: str, resources: Any) -> str:
    return NOTICE.format(source=source) + str(yaml.dump_all(resources, Dumper=_Dumper, sort_keys=False, width=120))


class _Dumper(yaml.SafeDumper):
    """Files within files are written line by line."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)


_Dumper.add_representer(str, _Dumper.represent_str)


def _topic(topic: Topic) -> Resource:
    """Without a number of replicas: it is the broker's default, 1 on one machine and 3 in a plant."""
    return {
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "KafkaTopic",
        "metadata": {"name": topic.name, "labels": CLUSTER.copy()},
        "spec": {"partitions": topic.partitions, "config": {k: _plain(v) for k, v in topic.config().items()}},
    }


def _user(name: str, principal: Principal, topics: Topics) -> Resource:
    operations: dict[tuple[ResourceKind, str, str], list[str]] = {}
    for rule in kafka_rules(principal, topics):
        operations.setdefault((rule.resource, rule.name, rule.pattern), []).append(rule.operation)
    acls = [
        {
            "resource": {"type": RESOURCES[kind]}
            | ({} if kind == "cluster" else {"name": resource, "patternType": PATTERNS[pattern]}),
            "operations": allowed,
        }
        for (kind, resource, pattern), allowed in operations.items()
    ]
    return {
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "KafkaUser",
        "metadata": {"name": name, "labels": CLUSTER.copy()},
        "spec": {
            "authentication": {"type": "scram-sha-512"},
            "authorization": {"type": "simple", "acls": acls},
        },
    }


def _valkey_users(access: dict[str, Principal]) -> Resource:
    """A user a key, its rules the value."""
    rules = {name: redis_rules(principal) for name, principal in access.items()}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "valkey-users"},
        "data": {name: " ".join(allowed) for name, allowed in rules.items() if allowed},
    }


def _registry(access: dict[str, Principal], topics: Topics) -> Resource:
    rights = registry_rights(access, topics)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "registry-rights"},
        "data": {"rights.properties": "".join(f"{name}={value}\n" for name, value in rights.items())},
    }


def _rules(alerts: Resource) -> Resource:
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "chipsieve", "labels": {"app.kubernetes.io/part-of": "chipsieve"}},
        "spec": alerts,
    }


def _plain(value: str) -> Any:
    """Numbers as numbers, as people write them in Kubernetes."""
    return yaml.safe_load(value)


def main() -> None:
    """Write the files."""
    for path, text in generated().items():
        (REPOSITORY / path).write_text(text)


if __name__ == "__main__":
    main()
