import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from shared.settings import ServiceSettings
from shared.stream.service import Service, run
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
