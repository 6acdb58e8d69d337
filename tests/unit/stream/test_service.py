import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from unittest.mock import Mock

import pytest
from structlog.testing import capture_logs

from shared.errors import ConfigurationError
from shared.settings import ServiceSettings
from shared.stream import service as service_module
from shared.stream.errors import ClientFailed, ExitStatus, Fenced, TopicsMissing
from shared.stream.service import Service, run
from shared.wire.errors import RegistryUnavailable
from tests.toy_stage import ToyStep


@pytest.fixture(autouse=True)
def handlers_as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_only_sets_the_flag_since_it_may_interrupt_the_log_itself(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    told_within_the_handler = []

    def interrupted(service: Service) -> None:
        with capture_logs() as logs:
            signal.raise_signal(number)
        told_within_the_handler.extend(logs)
        assert service._stopping.is_set()

    monkeypatch.setattr(Service, "_run", interrupted)
    with capture_logs() as logs:
        assert run(ToyStep(), ServiceSettings()) == 0
    assert told_within_the_handler == []
    assert [(line["event"], line["signal"]) for line in logs] == [("drained", number.name)]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Fenced("another has the slot"), ExitStatus.FENCED),
        (ClientFailed("fatal"), ExitStatus.FAILED),
        (ConfigurationError("no such file"), ExitStatus.MISCONFIGURED),
        (RuntimeError("unforeseen"), ExitStatus.FAILED),
    ],
)
def test_what_ends_a_stage_is_its_exit_status(
    monkeypatch: pytest.MonkeyPatch, error: Exception, status: ExitStatus
) -> None:
    monkeypatch.setattr(Service, "_run", Mock(side_effect=error))
    assert Service(ToyStep(), ServiceSettings()).run() is status


class Opening:
    """A toy stage up to its loop, and what it did; what it needs is asked for once for each of `attempts`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *attempts: Callable[[], None]) -> None:
        self.did: list[object] = []
        self.said: list[str | None] = []
        left = list(attempts)

        def prepare() -> None:
            self.said.append(self.service.vitals.not_ready_because())
            left.pop(0)()

        def check_topics(_: object, names: set[str]) -> None:
            self.did.append(names)

        monkeypatch.setattr(service_module, "back_off", lambda: iter([0.0, 0.0, 60.0]))
        monkeypatch.setattr(service_module, "Codec", lambda *_: Mock(prepare=prepare))
        monkeypatch.setattr(service_module, "check_topics", check_topics)
        monkeypatch.setattr(Service, "_loop", lambda *_: self.did.append("loop"))
        monkeypatch.setattr(ToyStep, "open", lambda _: self.did.append("open"))
        monkeypatch.setattr(ToyStep, "close", lambda _: self.did.append("close"))
        self.service = Service(ToyStep(), ServiceSettings())


def refuse(why: Exception) -> Callable[[], None]:
    return Mock(side_effect=why)


def test_a_stage_that_cannot_open_yet_says_why_and_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    away, missing = RegistryUnavailable("the registry is away"), TopicsMissing("no topics")
    opening = Opening(monkeypatch, refuse(away), refuse(missing), lambda: None)
    assert opening.service.run() is ExitStatus.DRAINED
    assert opening.said == ["the step is opening", "the registry is away", "no topics"]
    assert opening.did == [{"images", "features", "dead-letters"}, "open", "loop", "close"]
    assert opening.service.vitals.not_ready_because() == "draining: told to stop"
    assert opening.service.vitals.opening is None


def test_a_stage_that_is_told_to_stop_before_it_could_open_judges_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped() -> None:
        opening.service.stop()
        raise TopicsMissing("no topics")

    opening = Opening(monkeypatch, refuse(TopicsMissing("no topics")), refuse(TopicsMissing("no topics")), stopped)
    assert opening.service.run() is ExitStatus.DRAINED
    assert opening.did == ["close"]


A_STEP_THAT_DOES_NOT_LET_GO = """
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import Mock

import shared.stream.service as service_module
from shared.settings import ServiceSettings
from shared.stream.entry import enter
from tests.toy_stage import ToyStep


class Decoding(ToyStep):
    def open(self):
        os.kill(os.getpid(), signal.SIGTERM)
        list(ThreadPoolExecutor(1).map(time.sleep, [60]))  # the interpreter waits for such a thread


service_module.Codec = Mock()
sys.exit(enter("toy", ServiceSettings, lambda settings: service_module.run(Decoding(), settings)))
"""


def test_a_worker_that_is_left_behind_does_not_keep_the_process_from_ending() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", A_STEP_THAT_DOES_NOT_LET_GO], capture_output=True, text=True, timeout=20, check=False
    )
    assert ended.returncode == 0
    assert [event for event in ("worker_left_behind", "drained") if event in ended.stderr] == [
        "worker_left_behind",
        "drained",
    ]
