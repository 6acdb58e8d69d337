"""The schema registry, behind the two questions the codec asks and the one act of registering."""

import json
import os
import weakref
from collections.abc import Callable
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx2
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from shared.errors import ConfigurationError
from shared.events import Event
from shared.settings import RegistrySettings, shown
from shared.topics import SCHEMAS, Topic, Topics
from shared.wire.errors import IncompatibleSchema, RegistryUnavailable, SchemaNotRegistered

T = TypeVar("T")

TIMEOUT_S = 5.0  # a registry answers in milliseconds; a stage that waits longer should say that it is not ready
RETRIES = 1  # the runtime tries again anyway, and meanwhile reports why it waits

# Error codes of the registry's API that mean "I am a registry and have no such thing", as against a wrong address.
NOT_FOUND = {40401, 40402, 40403}  # subject, version, schema
CONFLICT = 409
REFUSALS = {401, 403}


def schema_source(event: type[Event]) -> str:
    """The schema of an event as it is registered: its file, without insignificant white space."""
    return json.dumps(json.loads((SCHEMAS / f"{event.SCHEMA}.avsc").read_text()), separators=(",", ":"))


class SchemaRegistry:
    """A client of a registry with Confluent's interface (Confluent's own, Apicurio, Redpanda, Karapace).

    Raises:
        ConfigurationError: the settings name no address, or a file that cannot be read.
    """

    def __init__(self, settings: RegistrySettings) -> None:
        self._url = shown(settings.url)
        self._user = settings.username or "without a name"
        config = {**settings.client_config(), "timeout": TIMEOUT_S, "max.retries": RETRIES, "retries.wait.ms": 200}
        try:
            _reach_directly(settings.url)
            self._client = SchemaRegistryClient(config)
        except (ValueError, httpx2.InvalidURL):
            # Without the URL and the cause, which may hold a password, or the part of one that was taken for the port.
            raise ConfigurationError(
                "CHIPSIEVE_REGISTRY__URL is no address like http://registry:8081/apis/ccompat/v7, or has a user while "
                "CHIPSIEVE_REGISTRY__USERNAME is set; signs in a password are written like %2F"
            ) from None
        weakref.finalize(self, self._client.close)  # its connections, whoever held the registry last

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def id_of(self, topic: Topic) -> int:
        """Id of this version of the topic's schema.

        Raises `SchemaNotRegistered`, `RegistryUnavailable`.
        """
        schema = Schema(schema_source(topic.event), "AVRO")
        registered = self._ask(lambda: self._client.lookup_schema(topic.subject, schema))
        if registered is None or registered.schema_id is None:
            raise SchemaNotRegistered(
                f"this version of {topic.event.SCHEMA} is not registered as {topic.subject} at {self._url}; "
                "run `chipsieve topics create`"
            )
        return int(registered.schema_id)

    def schema_of(self, schema_id: int) -> dict[str, Any] | None:
        """The Avro schema a record was written with, as parsed JSON; None where the registry has none of that id.

        Others may keep Protobuf and JSON schemas in the same registry. Raises `RegistryUnavailable`.
        """
        schema = self._ask(lambda: self._client.get_schema(schema_id))
        if schema is None or schema.schema_type not in (None, "AVRO"):  # Avro need not be named
            return None
        if schema.schema_str is None:
            raise self._unavailable(f"it answers without a schema when asked for the one with the id {schema_id}")
        try:
            parsed: dict[str, Any] | None = json.loads(schema.schema_str)
        except (ValueError, RecursionError):
            return None
        return parsed

    def register(self, topic: Topic, source: str | None = None) -> int:
        """Set the subject's compatibility, then register the topic's schema, or `source`, as its newest version.

        Returns the schema's id. The same schema again changes nothing. Raises `IncompatibleSchema` with the registry's
        reason, and `RegistryUnavailable`.
        """
        # Before the first version: a registry's default may be NONE, and then nothing would ever be refused.
        try:
            self._ask(lambda: self._client.set_compatibility(topic.subject, topic.compatibility))
        except SchemaRegistryError:  # another set it for the first time at the same moment
            self._ask(lambda: self._client.set_compatibility(topic.subject, topic.compatibility))
        schema = Schema(source or schema_source(topic.event), "AVRO")
        try:
            schema_id: int | None = self._ask(lambda: self._client.register_schema(topic.subject, schema))
        except SchemaRegistryError as error:
            raise IncompatibleSchema(
                f"the registry refused the new version of {topic.subject} under {topic.compatibility}: "
                f"{error.error_message}. Only add fields with defaults, and remove only fields that have one"
            ) from error
        if schema_id is None:
            raise self._unavailable("subjects cannot be written there")
        return schema_id

    def register_all(self, topics: Topics) -> dict[str, int]:
        """`register` for every topic: the ids by subject."""
        return {topic.subject: self.register(topic) for topic in topics.by_name.values()}

    def _ask(self, question: Callable[[], T]) -> T | None:
        """The answer, or None where the registry has no such thing; a 409 comes through."""
        try:
            return question()
        except SchemaRegistryError as error:
            if error.error_code in NOT_FOUND:
                return None
            if error.http_status_code == CONFLICT:
                raise
            if error.http_status_code in REFUSALS:
                raise RegistryUnavailable(
                    f"the schema registry at {self._url} refuses the user {self._user}: check "
                    "CHIPSIEVE_REGISTRY__USERNAME, the password, and the rights in schemas/access.yaml"
                ) from error
            raise self._unavailable(str(error)) from error
        # Also of what is no registry's answer: the client raises whatever the parts lead to that it misses, and a stage
        # would take that for a defect of the record.
        except Exception as error:  # nobody can name them all
            raise self._unavailable(f"{type(error).__name__}: {error}") from error

    def _unavailable(self, why: str) -> RegistryUnavailable:
        return RegistryUnavailable(
            f"no answer from the schema registry at {self._url} ({why}); check that it runs and CHIPSIEVE_REGISTRY__URL"
        )


def _reach_directly(url: str) -> None:
    """Keep a proxy out of the way to this machine itself, which none can reach.

    The registry's client takes proxies from the environment and has no setting against it. Raises `ValueError` for an
    address that is none.
    """
    parts = urlsplit(url)
    host, _ = parts.hostname, parts.port  # a port that is none is noticed when it is asked for
    if host in {"localhost", "127.0.0.1", "::1"}:
        direct = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
        if host not in direct.split(","):
            os.environ["no_proxy"] = f"{direct},{host}".lstrip(",")
