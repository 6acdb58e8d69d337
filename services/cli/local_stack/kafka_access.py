"""Kafka's users and their rights, brought to what `schemas/access.yaml` declares."""

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from services.cli.local_stack.errors import ServerFailed
from shared.access import AccessRule, Operation, Principal, ResourceKind, kafka_rules
from shared.topics import Topics

TIMEOUT_S = 30.0
ITERATIONS = 4096  # Kafka's least; passwords are drawn at random and long, so that guessing is hopeless anyway
RESOURCES: dict[ResourceKind, ResourceType] = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional_id": ResourceType.TRANSACTIONAL_ID,
    "cluster": ResourceType.BROKER,  # as the client calls it in a rule
}
PATTERNS = {"literal": ResourcePatternType.LITERAL, "prefixed": ResourcePatternType.PREFIXED}
OPERATIONS: dict[Operation, AclOperation] = {
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
    "Create": AclOperation.CREATE,
    "Describe": AclOperation.DESCRIBE,
    "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
}
EVERY_RULE = AclBindingFilter(
    ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY
)


def apply(
    admin: AdminClient, principals: Mapping[str, Principal], passwords: Mapping[str, str], topics: Topics
) -> None:
    """Make every user with its password, add the rules that are missing, and remove those that nobody declares.

    Raises `ServerFailed` where the broker refuses.
    """
    users = {name: principal for name, principal in principals.items() if principal.uses_kafka}
    scram = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, ITERATIONS)
    changes = [UserScramCredentialUpsertion(name, scram, passwords[name].encode()) for name in users]
    for done in admin.alter_user_scram_credentials(changes).values():
        _wait(done)
    wanted = {_binding(name, rule) for name, principal in users.items() for rule in kafka_rules(principal, topics)}
    present = set(_wait(admin.describe_acls(EVERY_RULE)))
    if missing := wanted - present:
        for done in admin.create_acls(list(missing)).values():
            _wait(done)
    if undeclared := present - wanted:
        for done in admin.delete_acls([_exactly(binding) for binding in undeclared]).values():
            _wait(done)


def read_certificate_again(admin: AdminClient, listener: str, file: str) -> None:
    """Have the broker take the listener's certificate from its file, for new connections; the old ones go on."""
    broker = ConfigResource(ResourceType.BROKER, "1")
    name = f"listener.name.{listener.lower()}.ssl.keystore.location"
    broker.add_incremental_config(ConfigEntry(name, file, incremental_operation=AlterConfigOpType.SET))
    for done in admin.incremental_alter_configs([broker]).values():
        _wait(done)


def _binding(user: str, rule: AccessRule) -> AclBinding:
    return AclBinding(
        RESOURCES[rule.resource],
        rule.name,
        PATTERNS[rule.pattern],
        f"User:{user}",
        "*",
        OPERATIONS[rule.operation],
        AclPermissionType.ALLOW,
    )


def _exactly(binding: AclBinding) -> AclBindingFilter:
    return AclBindingFilter(
        binding.restype,
        binding.name,
        binding.resource_pattern_type,
        binding.principal,
        binding.host,
        binding.operation,
        binding.permission_type,
    )


def _wait(done: "Future[Any]") -> Any:
    try:
        return done.result(TIMEOUT_S)
    except KafkaException as error:
        raise ServerFailed(f"Kafka does not take its users and rights: {error.args[0].str()}") from error
