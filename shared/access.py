"""Who may do what, read from `schemas/access.yaml`, as Kafka's, Redis's and the registry's own rules.

Nothing here talks to any of them.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from shared.errors import ConfigurationError
from shared.topics import SCHEMAS, Topics

ResourceKind = Literal["topic", "group", "transactional_id", "cluster"]
PatternKind = Literal["literal", "prefixed"]
Operation = Literal["Read", "Write", "Create", "Describe", "DescribeConfigs"]
"""As Kafka and Strimzi spell them. Kafka's Read and Write imply Describe."""

# What following and loading a bank takes (`shared.bank.store`), and what redis-py says at the start of a connection.
BANK_READ_COMMANDS = (
    *("+hget", "+hgetall", "+hkeys", "+hmget", "+hlen", "+hexists", "+lrange", "+smembers", "+ping"),
    *("+client|setinfo", "+client|setname"),
)
BANK_WRITE_COMMANDS = (
    *BANK_READ_COMMANDS,
    *("+hset", "+lpush", "+lpop", "+ltrim", "+expire", "+persist", "+rename", "+sadd", "+srem", "+unlink", "+hdel"),
    *("+multi", "+exec", "+watch", "+unwatch", "+discard"),
)

CLUSTER = "kafka-cluster"
"""What Kafka calls the one cluster, whose right to describe configurations is for those of brokers."""
REGISTRY_PATH = "/apis/ccompat/v7"
"""Where Apicurio speaks Confluent's language."""


@dataclass(frozen=True, slots=True, order=True)
class AccessRule:
    """One thing that a principal may do in Kafka, from any host."""

    resource: ResourceKind
    name: str
    """A beginning where the pattern is prefixed."""
    pattern: PatternKind
    operation: Operation


class Principal(BaseModel):
    """A user, and all it may do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    service: bool = False
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    describes: tuple[str, ...] = ()
    """Topics whose records it may not see, but where they end."""
    groups: tuple[str, ...] = ()
    watches_groups: tuple[str, ...] = ()
    """Consumer groups whose offsets it may see, but not move."""
    transactional_ids: tuple[str, ...] = ()
    manages_topics: bool = False
    banks: Literal["read", "write"] | None = None

    @property
    def uses_kafka(self) -> bool:
        """Whether it needs a user of Kafka."""
        return bool(self.reads or self.writes or self.describes or self.groups or self.manages_topics)

    @property
    def uses_registry(self) -> bool:
        """Whether it needs a user of the schema registry: it reads or writes records."""
        return bool(self.reads or self.writes or self.manages_topics)


class _Declaration(BaseModel):
    model_config = ConfigDict(extra="forbid")

    principals: dict[str, Principal]


def load_access(topics: Topics, path: Path = SCHEMAS / "access.yaml") -> dict[str, Principal]:
    """Every principal by name.

    Raises `ConfigurationError` where the file is not as it should be, or names a topic that is not declared.
    """
    try:
        plain: Any = yaml.safe_load(path.read_text())
        declared = _Declaration.model_validate(plain).principals
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror}); it declares who may do what") from error
    except (yaml.YAMLError, ValidationError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    for name, principal in declared.items():
        named = {*principal.reads, *principal.writes, *principal.describes}
        if unknown := sorted(named - topics.by_name.keys()):
            raise ConfigurationError(f"{path}: {name} names {', '.join(unknown)}, which topics.yaml does not declare")
    return declared


def kafka_rules(principal: Principal, topics: Topics) -> list[AccessRule]:
    """Its rules, sorted: those of a plant whose names have no prefix (`Settings.topic_prefix`)."""
    return sorted(set(_rules(principal, topics)))


def _rules(principal: Principal, topics: Topics) -> Iterator[AccessRule]:
    granted: tuple[tuple[tuple[str, ...], Operation], ...] = (
        (principal.reads, "Read"),
        (principal.writes, "Write"),
        (principal.describes, "Describe"),
    )
    for names, operation in granted:
        for name in names:
            yield AccessRule("topic", topics.by_name[name].name, "literal", operation)
    for group in principal.groups:
        yield _rule("group", group, "Read")
    for group in principal.watches_groups:
        yield _rule("group", group, "Describe")
    for transactional_id in principal.transactional_ids:
        yield _rule("transactional_id", transactional_id, "Write")
    if principal.manages_topics:
        operations: tuple[Operation, ...] = ("Create", "Describe", "DescribeConfigs")
        for topic in topics.by_name.values():
            for operation in operations:
                yield AccessRule("topic", topic.name, "literal", operation)
        yield AccessRule("cluster", CLUSTER, "literal", "DescribeConfigs")


def _rule(resource: ResourceKind, name: str, operation: Operation) -> AccessRule:
    if name.endswith("*"):
        return AccessRule(resource, name[:-1], "prefixed", operation)
    return AccessRule(resource, name, "literal", operation)


def redis_rules(principal: Principal) -> list[str] | None:
    """What ``ACL SETUSER`` is told after the password, in Redis's own words; None where it has no business there."""
    if principal.banks is None:
        return None
    if principal.banks == "read":
        return ["resetkeys", "resetchannels", "%R~chipsieve:bank:*", "-@all", *BANK_READ_COMMANDS]
    return ["resetkeys", "resetchannels", "~chipsieve:bank:*", "-@all", *BANK_WRITE_COMMANDS]


def registry_rights(access: Mapping[str, Principal], topics: Topics) -> dict[str, str]:
    """What Apicurio's registry is told beside the passwords, as properties of Quarkus.

    Who reads or writes records may read schemas and look up the id of one, by POST at exactly these paths; who manages
    topics may do all, registering among it. Nobody else may do anything but see which subjects there are, which is how
    the registry is probed.

    Readers may also ask for associations of topics and subjects, of which Apicurio has none: Confluent's own
    deserializers ask for them first unless told how subjects are named, and take being forbidden for a failure.
    """
    lookups = ",".join(f"{REGISTRY_PATH}/subjects/{topic.subject}" for topic in topics.by_name.values())
    below = ",".join(f"{REGISTRY_PATH}/{what}/*" for what in ("subjects", "schemas", "associations"))
    # The longest path that fits decides, and denies every method that is not named for it.
    permissions = {
        "probe": (f"{REGISTRY_PATH}/subjects", "GET", "permit"),
        "lookup": (lookups, "POST", "readers"),
        "remove": (lookups, "DELETE", "writers"),
        "read": (below, "GET", "readers"),
        "write": (below, "POST,PUT,DELETE", "writers"),
    }
    rights = {
        "quarkus.http.auth.basic": "true",
        "apicurio.auth.anonymous-read-access.enabled": "true",  # what Quarkus lets through, which is the probe alone
        "quarkus.security.users.embedded.plain-text": "false",
        "quarkus.security.users.embedded.algorithm": "digest-sha-256",
        "quarkus.http.auth.policy.readers.roles-allowed": "reader",
        "quarkus.http.auth.policy.writers.roles-allowed": "writer",
        "quarkus.http.auth.permission.all.paths": "/*",
        "quarkus.http.auth.permission.all.policy": "writers",
    }
    for name, (paths, methods, policy) in permissions.items():
        values = {"paths": paths, "methods": methods, "policy": policy}
        rights |= {f"quarkus.http.auth.permission.{name}.{key}": value for key, value in values.items()}
    for name, principal in access.items():
        if principal.uses_registry:
            roles = "reader,writer" if principal.manages_topics else "reader"
            rights[f"quarkus.security.users.embedded.roles.{name}"] = roles
    return rights


def registry_user(name: str, password: str) -> tuple[str, str]:
    """The property that gives a user of the registry its password, of which only a hash is kept."""
    realm = "Quarkus"  # fixed when Apicurio is built
    hashed = hashlib.sha256(f"{name}:{realm}:{password}".encode()).hexdigest()
    return f"quarkus.security.users.embedded.users.{name}", hashed
