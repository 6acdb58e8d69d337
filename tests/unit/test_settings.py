import pytest

from shared.errors import ConfigurationError
from shared.settings import ServiceSettings


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


def test_a_group_that_is_no_json_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHIPSIEVE_KAFKA", "broker:9092")
    with pytest.raises(ConfigurationError, match="kafka"):
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
