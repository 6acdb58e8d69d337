import signal
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from shared.settings import ServiceSettings
from shared.stream import service as service_module
from shared.stream.service import Service, run
from tests.toy_stage import ToyStep


@pytest.fixture(autouse=True)
def handlers_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(service_module, "configure_logs", lambda *_, **__: None)
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
