from pathlib import Path

import pytest

from services.extractor.settings import ExtractorSettings
from services.gateway.settings import GatewaySettings
from services.matcher.settings import MatcherSettings
from services.router.settings import RouterSettings
from shared.errors import ConfigurationError
from shared.settings import (
    GROUPS_OF_SERVICES,
    KafkaSettings,
    RedisSettings,
    RegistrySettings,
    ServiceSettings,
    Settings,
    shown,
)


def test_settings_come_from_variables_nested_by_two_underscores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHIPSIEVE_KAFKA__BOOTSTRAP_SERVERS", "broker:9092")
    monkeypatch.setenv("CHIPSIEVE_STREAM__BATCH_SIZE", "7")
    settings = ServiceSettings()
    assert settings.kafka.client_config()["bootstrap.servers"] == "broker:9092"
    assert settings.stream.batch_size == 7


def test_a_wrong_value_is_named_with_its_variable_and_what_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHIPSIEVE_STREAM__BATCH_SIZE", "many")
    monkeypatch.setenv("CHIPSIEVE_LOG__FORMAT", "xml")
    with pytest.raises(ConfigurationError) as caught:
        ServiceSettings()
    assert "CHIPSIEVE_STREAM__BATCH_SIZE is 'many': " in str(caught.value)
    assert "CHIPSIEVE_LOG__FORMAT is 'xml': Input should be 'auto', 'json' or 'console'" in str(caught.value)


@pytest.mark.parametrize("prefix", ["plant 1/", "größe-", "p" * 201])
def test_a_prefix_by_which_kafka_would_name_no_topic_is_refused(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHIPSIEVE_TOPIC_PREFIX", "Plant_1.east-")
    assert Settings().topic_prefix == "Plant_1.east-"
    monkeypatch.setenv("CHIPSIEVE_TOPIC_PREFIX", prefix)
    with pytest.raises(ConfigurationError, match=f"^CHIPSIEVE_TOPIC_PREFIX is '{prefix}': "):
        Settings()


@pytest.mark.parametrize(
    ("settings", "variable"),
    [(ExtractorSettings, "CHIPSIEVE_IMAGES__ROOT"), (GatewaySettings, "CHIPSIEVE_GATEWAY__WATCH_DIR")],
)
def test_a_folder_of_no_name_is_not_the_one_the_process_was_started_in(
    settings: type[Settings], variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "")
    monkeypatch.setenv("CHIPSIEVE_GATEWAY__WATCH_LINE", "line-1")
    monkeypatch.setenv("CHIPSIEVE_GATEWAY__WATCH_PRODUCT", "soic-8")
    with pytest.raises(ConfigurationError, match=f"^{variable} is '': .*it names no folder"):
        settings()


def test_a_misspelt_variable_of_a_known_group_is_told_with_what_may_be_meant() -> None:
    variables = [
        "CHIPSIEVE_STREAM__BATCHSIZE",
        "chipsieve_kafka__colour",
        "CHIPSIEVE_STREAM__BATCH_SIZE",
        "CHIPSIEVE_GATEWAY__PORT",  # another service's
        "CHIPSIEVE_GATEWAY_PORT",  # Kubernetes tells so of a service named chipsieve-gateway
        "CHIPSIEVE_CACHE_DIR",
        "CHIPSIEVE_IMAGE",
        "CHIPSIEVE_TOPIC_PREFIX",
        "CHIPSIEVE_STREAM",
        "STREAM__BATCHSIZE",
    ]
    assert ServiceSettings.unknown(variables) == {
        "CHIPSIEVE_STREAM__BATCHSIZE": "CHIPSIEVE_STREAM__BATCH_SIZE",
        "chipsieve_kafka__colour": None,
    }


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("CHIPSIEVE_STREM__BATCH_SIZE", "CHIPSIEVE_STREAM__BATCH_SIZE"),
        ("CHIPSIEVE_GATEWY__PORT", "CHIPSIEVE_GATEWAY__PORT"),
        ("CHIPSIEVE_CAMERA__PORT", None),
        ("CHIPSIEVE_TOPIC_PREFX", "CHIPSIEVE_TOPIC_PREFIX"),
        ("CHIPSIEVE_KAFKA_BOOTSTRAP_SERVERS", "CHIPSIEVE_KAFKA__BOOTSTRAP_SERVERS"),
        ("CHIPSIEVE_KAFKA_BOOTSTRAP_SERVER", "CHIPSIEVE_KAFKA__BOOTSTRAP_SERVERS"),
        ("CHIPSIEVE_REDIS_URL", "CHIPSIEVE_REDIS__URL"),
    ],
)
def test_a_variable_that_sets_nothing_in_any_service_is_told(variable: str, meant: str | None) -> None:
    for settings in (Settings, ServiceSettings, GatewaySettings):
        assert settings.unknown([variable]) == {variable: meant}


def test_what_kubernetes_tells_of_a_service_is_not_taken_for_a_setting() -> None:
    told = [
        f"CHIPSIEVE_{name}_{what}"
        for name in ("GATEWAY", "KAFKA", "REGISTRY", "REDIS", "ADMIN")
        for what in ("PORT", "SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT_80_TCP", "PORT_80_TCP_ADDR")
    ]
    for settings in (Settings, ServiceSettings, GatewaySettings):
        assert settings.unknown(told) == {}


def test_the_groups_of_all_services_are_known() -> None:
    services = (GatewaySettings, ExtractorSettings, MatcherSettings, RouterSettings)
    groups = {name.upper() for service in services for name in service.model_fields}
    assert groups - {name.upper() for name in Settings.model_fields} == GROUPS_OF_SERVICES


@pytest.mark.parametrize("text", ["broker:9092", "[" * 5000])
def test_a_group_that_is_no_json_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("CHIPSIEVE_KAFKA", text)
    with pytest.raises(ConfigurationError, match="set its fields one by one, as CHIPSIEVE_GROUP__FIELD"):
        ServiceSettings()


def test_a_wrong_secret_is_not_repeated() -> None:
    with pytest.raises(ConfigurationError) as caught:
        ServiceSettings(kafka={"sasl_password": 12345})
    assert "12345" not in str(caught.value)


def test_a_password_reaches_the_client_and_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHIPSIEVE_KAFKA__SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("CHIPSIEVE_KAFKA__SASL_USERNAME", "matcher")
    monkeypatch.setenv("CHIPSIEVE_KAFKA__SASL_PASSWORD", "open sesame")
    settings = ServiceSettings()
    assert settings.kafka.client_config()["sasl.password"] == "open sesame"
    assert "open sesame" not in repr(settings)


def test_a_password_comes_from_its_file_without_the_lines_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("open sesame\n")
    monkeypatch.setenv("CHIPSIEVE_KAFKA__SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("CHIPSIEVE_KAFKA__SASL_USERNAME", "matcher")
    monkeypatch.setenv("CHIPSIEVE_KAFKA__SASL_PASSWORD_FILE", str(file))
    assert ServiceSettings().kafka.client_config()["sasl.password"] == "open sesame"


def test_a_password_comes_without_the_mark_that_some_editors_leave_before_it(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("\ufeffopen sesame\r\n")
    assert RedisSettings(password_file=file).credentials() == ("open sesame",)


def test_a_password_that_changed_in_its_file_counts_from_the_next_connection_on(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("before")
    settings = RedisSettings(username="matcher", password_file=file)
    assert settings.credentials() == ("matcher", "before")
    file.write_text("after")
    assert settings.credentials() == ("matcher", "after")


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_a_file_without_a_password_is_named(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigurationError, match=f"CHIPSIEVE_REGISTRY__PASSWORD_FILE is {file}"):
        RegistrySettings(username="gateway", password_file=file).client_config()


def test_a_file_of_certificates_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"CHIPSIEVE_REGISTRY__SSL_CA_LOCATION is .*ca\.crt"):
        RegistrySettings(ssl_ca_location=tmp_path / "ca.crt").client_config()


@pytest.mark.parametrize("kind", [KafkaSettings, RegistrySettings])
def test_a_file_of_certificates_that_holds_none_is_told_before_a_client_stumbles_over_it(
    tmp_path: Path, kind: type[KafkaSettings | RegistrySettings]
) -> None:
    (tmp_path / "ca.crt").write_text("as if it were one\n")
    with pytest.raises(ConfigurationError, match=r"__SSL_CA_LOCATION is .*ca\.crt, which holds no certificate"):
        kind(ssl_ca_location=tmp_path / "ca.crt").client_config()


def test_a_mechanism_that_no_broker_speaks_is_told_with_those_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHIPSIEVE_KAFKA__SASL_MECHANISM", "SCRAM-SHA512")
    with pytest.raises(
        ConfigurationError, match=r"CHIPSIEVE_KAFKA__SASL_MECHANISM is 'SCRAM-SHA512': .*'SCRAM-SHA-512'"
    ):
        ServiceSettings()


@pytest.mark.parametrize(
    ("given", "missing"), [({"sasl_password": "open sesame"}, "USERNAME"), ({"sasl_username": "m"}, "PASSWORD_FILE")]
)
def test_sasl_without_user_or_password_is_refused_and_repeats_no_secret(given: dict[str, str], missing: str) -> None:
    with pytest.raises(ConfigurationError, match=missing) as caught:
        ServiceSettings(kafka={"security_protocol": "SASL_SSL", **given})
    assert "open sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("group", "given", "missing"),
    [
        ("registry", {"username": "gateway"}, "PASSWORD_FILE"),
        ("registry", {"password": "open sesame"}, "USERNAME"),
        ("registry", {"password_file": "/run/secrets/registry"}, "USERNAME"),
        ("redis", {"username": "matcher"}, "PASSWORD_FILE"),
    ],
)
def test_half_of_user_and_password_is_refused_and_no_secret_repeated(
    group: str, given: dict[str, str], missing: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"CHIPSIEVE_{group.upper()}.*{missing}") as caught:
        Settings(**{group: given})
    assert "open sesame" not in str(caught.value)


def test_redis_takes_a_password_alone() -> None:
    assert RedisSettings(password="open sesame").credentials() == ("open sesame",)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://gateway:sesame@registry:8081/apis", "http://registry:8081/apis"),
        ("http://registry:8081/apis", "http://registry:8081/apis"),
        ("http://a:sesame@one:1, http://b:s/es@ame@two:2", "http://one:1, http://two:2"),
        ("gateway:sesame@registry:8081", "registry:8081"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, told: str) -> None:
    assert shown(url) == told


def test_a_registry_gets_user_and_password() -> None:
    config = RegistrySettings(username="gateway", password="open sesame").client_config()
    assert config["basic.auth.user.info"] == "gateway:open sesame"


@pytest.mark.parametrize(
    ("variable", "value"), [("WATCH_LINE", "line 1 "), ("WATCH_PRODUCT", "p" * 501), ("WATCH_DEADLINE_MS", 10**12)]
)
def test_what_would_have_every_picture_of_a_watched_folder_refused_is_told_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, value: str | int
) -> None:
    for name, given in {"WATCH_DIR": tmp_path, "WATCH_LINE": "l", "WATCH_PRODUCT": "p", variable: value}.items():
        monkeypatch.setenv(f"CHIPSIEVE_GATEWAY__{name}", str(given))
    with pytest.raises(ConfigurationError, match=variable):
        GatewaySettings()
