import json

import pytest

from shared.errors import ConfigurationError
from shared.settings import ServiceSettings
from shared.stream.entry import enter
from shared.stream.errors import ExitStatus


def test_a_service_runs_with_the_settings_of_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHIPSIEVE_STREAM__BATCH_SIZE", "7")
    assert enter("extractor", ServiceSettings, lambda settings: settings.stream.batch_size) == 7


def test_a_misspelt_setting_is_warned_of(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CHIPSIEVE_STREAM__BATCHSIZE", "7")
    assert enter("extractor", ServiceSettings, lambda _: 0) == 0
    told = json.loads("".join(capfd.readouterr()))
    assert (told["event"], told["level"]) == ("unknown_setting", "warning")
    assert (told["variable"], told["meant"]) == ("CHIPSIEVE_STREAM__BATCHSIZE", "CHIPSIEVE_STREAM__BATCH_SIZE")


def test_a_wrong_setting_ends_the_process_with_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHIPSIEVE_STREAM__BATCH_SIZE", "many")
    assert enter("extractor", ServiceSettings, lambda _: 0) == ExitStatus.MISCONFIGURED
    out, err = capfd.readouterr()
    told = json.loads(out or err)
    assert told["event"] == "misconfigured"
    assert "CHIPSIEVE_STREAM__BATCH_SIZE is 'many'" in told["reason"]


def test_what_a_service_finds_wrong_before_it_serves_ends_it_likewise(capfd: pytest.CaptureFixture[str]) -> None:
    def run(_: ServiceSettings) -> int:
        raise ConfigurationError("rules.yaml: k is 0")

    assert enter("router", ServiceSettings, run) == ExitStatus.MISCONFIGURED
    assert "rules.yaml: k is 0" in "".join(capfd.readouterr())


def test_what_a_service_finds_wrong_is_logged_as_its_settings_say(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def run(_: ServiceSettings) -> int:
        raise ConfigurationError("rules.yaml: k is 0")

    monkeypatch.setenv("CHIPSIEVE_LOG__FORMAT", "console")
    enter("router", ServiceSettings, run)
    assert not "".join(capfd.readouterr()).startswith("{")
