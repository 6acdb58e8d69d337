from pathlib import Path
from subprocess import Popen
from types import SimpleNamespace
from typing import Any, cast

import pytest

from services.cli.benchmark.soak import Memory, _rebalances_of, summary
from services.cli.line import RunningService
from shared.settings import AdminSettings
from shared.stream.admin import AdminServer
from shared.stream.vitals import Vitals


def test_a_proxy_is_not_asked_for_this_machines_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    server = AdminServer(AdminSettings(), Vitals(lambda: None), "toy")
    server.start()
    try:
        process = cast("Popen[Any]", SimpleNamespace())
        assert _rebalances_of(RunningService("toy", "0", process, server.port, Path("log"))) >= 0
    finally:
        server.close()


def test_memory_is_told_by_tenths_and_grows_from_the_second_on() -> None:
    filling = [float(value) for value in range(10)]
    flat = [50.0, 50.0, 51.0, 50.0, 50.0, 50.0, 50.0, 90.0, 50.0, 50.0]
    found = summary([*filling, *(flat * 8), *(value + 2 for value in flat)])
    assert found == Memory(tenths=[4.5, *[50.0] * 8, 52.0], growth=2.0, peak=92.0)
