"""Settings of the services, from the environment.

Every setting is a variable with the prefix ``CHIPSIEVE_``, nested by two underscores, for instance
``CHIPSIEVE_KAFKA__BOOTSTRAP_SERVERS``. A service adds its own by subclassing `ServiceSettings`. A secret may stand in a
file, named by the variable with ``_FILE`` at its end: the environment of a process is for many to see.
"""

import difflib
import re
import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from shared.errors import ConfigurationError

PREFIX = "CHIPSIEVE_"
NESTED = "__"
GROUPS_OF_SERVICES = frozenset({"ADMIN", "ENGINE", "GATEWAY", "IMAGES", "MATCHING", "ROUTER", "STREAM"})
"""Every group that a service adds: several services may share one environment."""
# What several servers' settings mean.
WHO = "user to connect as"
BY_WORD = "the user's password; a file is safer, since many can see an environment"
BY_FILE = "file that holds the password; it counts before the setting without _file"
TRUSTED = "file of certificates to trust, PEM"
ALIKE = 0.75  # of two names: a letter too many, too few or another one in six


def _named(folder: Any) -> Any:
    """Refuse a name of nothing, which would stand for whatever folder the process was started in."""
    if folder == "":
        raise ValueError("it names no folder: name one, or leave the variable out")
    return folder


Folder = Annotated[Path, BeforeValidator(_named)]


def secret(given: SecretStr | None, file: Path | None, variable: str) -> str | None:
    """The secret itself, from its file where it has one; read anew at each call, so that a changed file counts.

    Raises `ConfigurationError` where the file cannot be read or says nothing.
    """
    if file is None:
        return given.get_secret_value() if given else None
    try:
        # Editors leave a line's end, some of Windows a mark before the first character.
        found = file.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{variable}_FILE is {file}, which cannot be read: {error}") from error
    if not found:
        raise ConfigurationError(f"{variable}_FILE is {file}, which is empty: write the secret into it")
    return found


def authority(file: Path, variable: str) -> str:
    """The file of certificates to trust. Raises `ConfigurationError` where it cannot be read, or holds none."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except ssl.SSLError as error:  # each client would end with an error of its own, and none of them names the variable
        raise ConfigurationError(
            f"{variable} is {file}, which holds no certificate ({error.reason or error}): give the authority's in PEM"
        ) from error
    except OSError as error:
        raise ConfigurationError(f"{variable} is {file}, which cannot be read: {error.strerror}") from error
    return str(file)


def shown(url: str) -> str:
    """A URL, or several with commas between, as it may be shown: without the user and password that it may hold."""
    return ",".join(re.sub(r"^(\s*[a-z0-9+.-]+://)?.*@", r"\1", each, flags=re.I | re.S) for each in url.split(","))


def _check_belong_together(username: str | None, password: SecretStr | None, file: Path | None) -> None:
    if username and password is None and file is None:
        raise ValueError("a user needs a password: set …PASSWORD_FILE")


class KafkaSettings(BaseModel):
    """How to reach the broker."""

    bootstrap_servers: str = Field(default="localhost:9092", description="brokers to begin with, HOST:PORT by commas")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="SSL is TLS, SASL a user with a password"
    )
    # Those that take a user and a password, in librdkafka's spelling; it ends a client for any other.
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="SCRAM-SHA-512", description="how the password is proved to the broker"
    )
    sasl_username: str | None = Field(default=None, description=WHO)
    sasl_password: SecretStr | None = Field(default=None, description=BY_WORD)
    sasl_password_file: Path | None = Field(default=None, description=BY_FILE)
    ssl_ca_location: Path | None = Field(default=None, description=TRUSTED)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.security_protocol.startswith("SASL"):
            if not self.sasl_username:
                raise ValueError(f"{self.security_protocol} needs a user: set …SASL_USERNAME")
            if not (self.sasl_password or self.sasl_password_file):
                raise ValueError(f"{self.security_protocol} needs a password: set …SASL_PASSWORD_FILE")
        return self

    def client_config(self) -> dict[str, str]:
        """The part of a librdkafka configuration that every client shares.

        Raises `ConfigurationError` where a file cannot be read.
        """
        config = {"bootstrap.servers": self.bootstrap_servers, "security.protocol": self.security_protocol}
        if self.security_protocol.startswith("SASL"):
            config["sasl.mechanism"] = self.sasl_mechanism
            config["sasl.username"] = self.sasl_username or ""
            config["sasl.password"] = (
                secret(self.sasl_password, self.sasl_password_file, "CHIPSIEVE_KAFKA__SASL_PASSWORD") or ""
            )
        if self.ssl_ca_location:
            config["ssl.ca.location"] = authority(self.ssl_ca_location, "CHIPSIEVE_KAFKA__SSL_CA_LOCATION")
        return config


class RegistrySettings(BaseModel):
    """How to reach the schema registry."""

    url: str = Field(
        default="http://localhost:8081/apis/ccompat/v7", description="address of a registry that speaks Confluent's API"
    )
    username: str | None = Field(default=None, description=WHO)
    password: SecretStr | None = Field(default=None, description=BY_WORD)
    password_file: Path | None = Field(default=None, description=BY_FILE)
    ssl_ca_location: Path | None = Field(default=None, description=TRUSTED)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        _check_belong_together(self.username, self.password, self.password_file)
        if not self.username and (self.password or self.password_file):
            raise ValueError("a password needs a user: set …USERNAME")
        return self

    def client_config(self) -> dict[str, str]:
        """The part of the client's configuration that these settings make.

        Raises `ConfigurationError` where a file cannot be read.
        """
        config = {"url": self.url}
        if self.username:
            password = secret(self.password, self.password_file, "CHIPSIEVE_REGISTRY__PASSWORD")
            config["basic.auth.user.info"] = f"{self.username}:{password or ''}"
        if self.ssl_ca_location:
            config["ssl.ca.location"] = authority(self.ssl_ca_location, "CHIPSIEVE_REGISTRY__SSL_CA_LOCATION")
        return config


class RedisSettings(BaseModel):
    """How to reach Redis or Valkey, which keeps the memory banks; ``rediss://`` is TLS."""

    url: str = Field(default="redis://localhost:6379/0", description="address with the number of the database")
    username: str | None = Field(default=None, description=WHO)
    password: SecretStr | None = Field(default=None, description=BY_WORD)
    password_file: Path | None = Field(default=None, description=BY_FILE)
    ssl_ca_location: Path | None = Field(default=None, description=TRUSTED)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        # A password alone is that of the user `default`.
        _check_belong_together(self.username, self.password, self.password_file)
        return self

    def credentials(self) -> tuple[str, ...] | None:
        """User and password, as far as they are set beside the URL. Raises `ConfigurationError` for the file."""
        password = secret(self.password, self.password_file, "CHIPSIEVE_REDIS__PASSWORD")
        if password is None:
            return None
        return (self.username, password) if self.username else (password,)


class AdminSettings(BaseModel):
    """The port that serves ``/metrics``, ``/healthz`` and ``/readyz``."""

    host: str = Field(default="127.0.0.1", description="address to listen at; 0.0.0.0 or :: for all of the machine's")
    port: int = Field(default=0, ge=0, le=65535, description="0 takes a free one and logs it")


class LogSettings(BaseModel):
    """What is logged and how."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", description="the least that is logged")
    format: Literal["auto", "json", "console"] = Field(
        default="auto", description="auto is console on a terminal, else json"
    )


class TraceSettings(BaseModel):
    """Traces of chips across the stages."""

    endpoint: str | None = Field(default=None, description="collector for OTLP over HTTP; without it nothing is traced")
    share: float = Field(default=0.01, ge=0, le=1, description="share of the chips that is traced; the gateway decides")


class StreamSettings(BaseModel):
    """The runtime: batching, transactions and the limits on dead letters."""

    batch_size: int = Field(
        default=64, ge=1, description="records a micro-batch holds at most; fewer where they take long to judge"
    )
    linger_ms: int = Field(default=10, ge=0, description="how long a batch waits at most after its first record")
    # One id per worker slot, stable over restarts (a StatefulSet's ordinal): a restarted worker fences its dead self.
    worker: str = Field(
        default="0", description="name of this worker slot, unique in its stage and stable over restarts"
    )
    # Longer than a broker's restart: what times out while the only broker starts may be ended without its markers
    # (Kafka 4.3 and 4.4), and then holds up every reader. A dead worker's transaction is ended by its successor, long
    # before.
    transaction_timeout_ms: int = Field(
        default=60_000, ge=1000, description="after this long the broker ends the transaction of a worker that is gone"
    )
    remembered_chips: int = Field(
        default=10_000, ge=1, description="latest chips a partition among which one that is sent again is found out"
    )
    dead_letter_streak: int = Field(default=50, ge=1, description="failures in a row that stop the stage")
    dead_letter_ratio: float = Field(default=0.5, gt=0, le=1, description="share of failures that stops the stage")
    dead_letter_window: int = Field(default=200, ge=1, description="latest records over which the share is taken")


class Settings(BaseSettings):
    """Settings that every process shares.

    Raises:
        ConfigurationError: a variable has a value that cannot be; the message names each, its value and what is wanted.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter=NESTED, extra="ignore")

    kafka: KafkaSettings = KafkaSettings()
    registry: RegistrySettings = RegistrySettings()
    redis: RedisSettings = RedisSettings()
    log: LogSettings = LogSettings()
    trace: TraceSettings = TraceSettings()
    topic_prefix: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9._-]{0,200}$",  # as Kafka names topics, of 249 characters at most
        description="put before every topic name and consumer group; lets plants share a cluster",
    )

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigurationError("; ".join(_explained(dict(each)) for each in error.errors())) from None
        except (SettingsError, RecursionError) as error:  # a nested group given as text that is not JSON, or endless
            raise ConfigurationError(f"{error}: set its fields one by one, as {PREFIX}GROUP{NESTED}FIELD") from None

    @classmethod
    def unknown(cls, variables: Iterable[str]) -> dict[str, str | None]:
        """Of the environment's variables those that set nothing in any service, and what may be meant.

        Of groups that another service has, any field may be set. What has no group may be somebody else's (a cache, an
        orchestrator's address of a service), unless its name is nearly one of ours, or would be with two underscores.
        """
        groups = {name.upper(): _fields(each.annotation) for name, each in cls.model_fields.items()}
        alone = [name for name, fields in groups.items() if not fields]
        grouped = sorted({*groups, *GROUPS_OF_SERVICES} - {*alone})
        found: dict[str, str | None] = {}
        for variable in variables:
            if not variable.upper().startswith(PREFIX):
                continue
            group, nested, name = variable.upper().removeprefix(PREFIX).partition(NESTED)
            known = groups.get(group)
            if known and nested and name.partition(NESTED)[0] not in known:
                near = difflib.get_close_matches(name, known, 1)
                found[variable] = f"{PREFIX}{group}{NESTED}{near[0]}" if near else None
            elif known is None and group not in GROUPS_OF_SERVICES:
                if not nested and (meant := _with_two_underscores(group, groups)):
                    found[variable] = PREFIX + meant
                    continue
                near = difflib.get_close_matches(group, grouped if nested else alone, 1, ALIKE)
                if near or nested:
                    found[variable] = f"{PREFIX}{near[0]}{nested}{name}" if near else None
        return found


class ServiceSettings(Settings):
    """Settings of a stage that the runtime runs."""

    admin: AdminSettings = AdminSettings()
    stream: StreamSettings = StreamSettings()


def _fields(annotation: Any) -> list[str]:
    """A group's fields; none of a setting by itself."""
    is_group = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return [each.upper() for each in annotation.model_fields] if is_group else []


def _with_two_underscores(name: str, groups: Mapping[str, list[str]]) -> str | None:
    """The field of a group that a name with one underscore between the two is meant to be."""
    group, _, field = name.partition("_")
    if field == "PORT":  # as Kubernetes names the address of a service chipsieve-GROUP
        return None
    near = difflib.get_close_matches(field, groups.get(group, []), 1, ALIKE)
    return f"{group}{NESTED}{near[0]}" if near else None


def _explained(error: dict[str, Any]) -> str:
    """One wrong setting: the variable that sets it, its value, and what is wanted. Secrets are not repeated."""
    variable = PREFIX + NESTED.join(str(part).upper() for part in error["loc"])
    # A whole group may hold a password, and so may a URL.
    tells = isinstance(error["input"], str | int | float) and not any(word in variable for word in ("PASSWORD", "URL"))
    value = f" is {error['input']!r}" if tells else ""
    return f"{variable}{value}: {error['msg']}"
