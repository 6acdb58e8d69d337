import io
import json
import logging
import sys
import time

import pytest
import structlog

from shared.logs import configure_logs
from shared.settings import LogSettings


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    output = capsys.readouterr()
    assert output.out == ""
    return [json.loads(line) for line in output.err.splitlines()]


def test_a_line_is_one_json_object_on_standard_error_with_its_context(capsys):
    configure_logs(LogSettings(format="json"), stage="matcher")
    structlog.get_logger().warning("waiting", reason="no bank")
    (line,) = lines(capsys)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"stage": "matcher", "event": "waiting", "reason": "no bank", "level": "warning"}


def test_an_exception_is_part_of_its_line(capsys):
    configure_logs(LogSettings(format="json"))
    try:
        {}["no such key"]
    except KeyError:
        structlog.get_logger().exception("step_failed")
    (line,) = lines(capsys)
    assert line["exception"][0]["exc_value"] == "'no such key'"


@pytest.mark.parametrize("shown_as", ["json", "console"])
def test_an_exception_tells_nothing_of_what_the_code_held_at_the_time(capsys, shown_as):
    configure_logs(LogSettings(format=shown_as))

    def authenticate(authorization: str) -> None:
        raise ValueError(f"no token of {len(authorization)} characters")

    try:
        authenticate(f"Bearer {'hunter'}{2}")  # a traceback shows this line, as it stands here
    except ValueError as error:
        structlog.get_logger().error("own", exc_info=error)
        logging.getLogger("uvicorn.error").error("Exception in ASGI application", exc_info=error)
    told = capsys.readouterr().err
    assert told.count("no token of 14 characters") == 2
    assert "Bearer hunter2" not in told


def test_what_libraries_warn_of_comes_out_the_same_way_and_their_chatter_does_not(capsys):
    configure_logs(LogSettings(format="json"), stage="matcher")
    logging.getLogger("httpx").info("HTTP Request: GET …")
    logging.getLogger("librdkafka").error("FAIL broker away")
    (line,) = lines(capsys)
    assert (line["event"], line["level"], line["stage"]) == ("FAIL broker away", "error", "matcher")


def test_a_library_that_repeats_itself_is_heard_once_a_second(capsys):
    configure_logs(LogSettings(format="json"))
    for port in range(50):
        logging.getLogger("librdkafka").error("FAIL no connection to port %s", port)
    assert len(lines(capsys)) < 50


def test_a_library_is_heard_after_the_clock_was_set_back(capsys, monkeypatch: pytest.MonkeyPatch):
    configure_logs(LogSettings(format="json"))
    for now in (10_000.0, 6_400.0):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        logging.getLogger("librdkafka").error("FAIL at %s", now)
    assert [line["event"] for line in lines(capsys)] == ["FAIL at 10000.0", "FAIL at 6400.0"]


def test_a_log_that_cannot_be_written_ends_nothing(monkeypatch: pytest.MonkeyPatch):
    with io.FileIO("/dev/full", "w") as full_disk, io.TextIOWrapper(full_disk, line_buffering=True) as full:
        monkeypatch.setattr(sys, "stderr", full)
        configure_logs(LogSettings(format="json"))
        structlog.get_logger().warning("starting")
        logging.getLogger("librdkafka").error("FAIL broker away")
        monkeypatch.undo()
        configure_logs(LogSettings())


def test_below_the_level_nothing_is_written(capsys):
    configure_logs(LogSettings(format="json", level="ERROR"))
    structlog.get_logger().warning("quiet")
    assert lines(capsys) == []


def test_a_terminal_gets_lines_for_people(capsys):
    configure_logs(LogSettings(format="console"))
    structlog.get_logger().info("drained")
    assert "drained" in capsys.readouterr().err
