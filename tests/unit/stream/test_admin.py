import json
import socket
import struct
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from shared.errors import ConfigurationError
from shared.settings import AdminSettings
from shared.stream import admin
from shared.stream.admin import AdminServer, healthz, readyz
from shared.stream.vitals import STALLED_AFTER_S, STUCK_AFTER_S, Vitals


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def ready_vitals(step_says: str | None = None, clock: Clock | None = None) -> Vitals:
    vitals = Vitals(lambda: step_says, clock=clock or Clock())
    vitals.opening = None
    vitals.group_up = True
    return vitals


def because(answer: tuple[int, str, bytes]) -> tuple[int, str | None]:
    return answer[0], json.loads(answer[2])["because"]


def test_a_stage_is_ready_once_it_is_open_and_in_the_group():
    vitals = Vitals(lambda: None)
    assert because(readyz(vitals, "toy")) == (503, "the step is opening")
    vitals.opening = None
    assert because(readyz(vitals, "toy")) == (503, "not in the consumer group; is the broker reachable?")
    vitals.group_up = True
    assert because(readyz(vitals, "toy")) == (200, None)


@pytest.mark.parametrize("attribute", ["waiting_for", "no_subscription_because", "opening"])
def test_a_stage_that_cannot_judge_says_why(attribute):
    vitals = ready_vitals()
    setattr(vitals, attribute, "no bank of soic-8")
    assert because(readyz(vitals, "toy")) == (503, "no bank of soic-8")


def test_a_worker_that_may_not_read_what_it_was_given_is_not_ready():
    vitals = ready_vitals()
    vitals.partitions = frozenset({0})
    vitals.no_subscription_because = "TOPIC_AUTHORIZATION_FAILED"
    assert because(readyz(vitals, "toy")) == (503, "TOPIC_AUTHORIZATION_FAILED")


def test_a_worker_whose_subscription_was_taken_after_all_is_ready_though_it_has_no_partitions():
    vitals = ready_vitals()
    vitals.no_subscription_because = "TOPIC_AUTHORIZATION_FAILED"
    vitals.subscribed()
    assert because(readyz(vitals, "toy")) == (200, None)


def test_a_partition_whose_past_cannot_be_read_says_why():
    vitals = ready_vitals()
    vitals.beginning = frozenset({7, 6})
    assert because(readyz(vitals, "toy")) == (503, "reading what was kept of partitions [6, 7]")
    vitals.beginning_failed_by = "No leaders found"
    assert because(readyz(vitals, "toy")) == (503, "reading what was kept of partitions [6, 7]: No leaders found")


def test_the_step_has_a_say_in_readiness():
    assert because(readyz(ready_vitals("no bank"), "toy")) == (503, "no bank")


def test_a_draining_stage_is_alive_and_not_ready():
    vitals = ready_vitals()
    vitals.draining = True
    assert readyz(vitals, "toy")[0] == 503
    assert healthz(vitals)[0] == 200


def test_a_loop_without_progress_is_dead():
    clock = Clock()
    vitals = ready_vitals(clock=clock)
    clock.now = STALLED_AFTER_S + 1
    assert healthz(vitals)[0] == 503
    vitals.progress()
    assert healthz(vitals)[0] == 200


def test_a_worker_that_hangs_is_dead_though_the_loop_goes_round():
    clock = Clock()
    vitals = ready_vitals(clock=clock)
    vitals.worker_busy_since = 0.0
    clock.now = STUCK_AFTER_S + 1
    vitals.progress()
    assert because(healthz(vitals)) == (503, f"the worker has been at one batch for {STUCK_AFTER_S + 1:.0f} s")


@contextmanager
def serving(vitals: Vitals, stage: str) -> Iterator[AdminServer]:
    server = AdminServer(AdminSettings(), vitals, stage)
    server.start()
    try:
        yield server
    finally:
        server.close()


def metrics_of(server: AdminServer) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10) as answer:
        return answer.read().decode()


def test_metrics_tell_readiness_as_a_number():
    with serving(ready_vitals(), "toy") as server:
        deadline = time.monotonic() + 10
        while 'chipsieve_ready{stage="toy"} 1.0' not in metrics_of(server):
            assert time.monotonic() < deadline


def test_metrics_are_told_while_the_question_of_readiness_gets_no_answer():
    asked, answered = threading.Event(), threading.Event()

    def ask_a_silent_registry() -> None:
        asked.set()
        assert answered.wait(10)

    with serving(GatewayLike(ask_a_silent_registry), "silent") as server:
        assert asked.wait(10)
        assert 'chipsieve_ready{stage="silent"} 0.0' in metrics_of(server)
        assert not answered.is_set()
        answered.set()


def test_readiness_is_asked_again_after_a_question_that_failed(monkeypatch):
    monkeypatch.setattr(admin, "ASK_AGAIN_S", 0.0)
    answers = iter([RuntimeError("surprise")])
    asked_again = threading.Event()

    def ask() -> None:
        if (answer := next(answers, None)) is not None:
            raise answer
        asked_again.set()

    with serving(GatewayLike(ask), "surprised"):
        assert asked_again.wait(10)


def test_a_prober_that_does_not_wait_for_its_answer_leaves_no_traceback(capsys: pytest.CaptureFixture[str]):
    gone = threading.Event()

    def ask_for_longer_than_the_prober_waits() -> None:
        assert gone.wait(10)

    with serving(GatewayLike(ask_for_longer_than_the_prober_waits), "slow") as server:
        with socket.create_connection(("127.0.0.1", server.port)) as prober:
            prober.sendall(b"GET /readyz HTTP/1.1\r\n\r\n")
            wait_for(lambda: answering() == 1)
            prober.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closes by a reset
        gone.set()
        wait_for(lambda: answering() == 0)
    assert capsys.readouterr().err == ""


def test_a_connection_that_asks_nothing_is_closed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(admin, "SILENCE_S", 0.05)
    with serving(ready_vitals(), "toy") as server, socket.create_connection(("127.0.0.1", server.port), 10) as silent:
        assert silent.recv(1) == b""


def answering() -> int:
    """Questions that are being answered."""
    return sum("process_request_thread" in thread.name for thread in threading.enumerate())


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline


class GatewayLike(Vitals):
    """Asks others whether it is ready, as the gateway does."""

    def __init__(self, ask: Callable[[], None]) -> None:
        super().__init__(lambda: None)
        self._ask = ask

    def not_ready_because(self) -> str | None:
        return self._ask()


def has_ipv6() -> bool:
    with suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_the_admin_port_can_be_opened_at_an_address_of_ipv6():
    server = AdminServer(AdminSettings(host="::1"), ready_vitals(), "toy")
    server.start()
    try:
        with urllib.request.urlopen(f"http://[::1]:{server.port}/healthz", timeout=10) as answer:
            assert answer.status == 200
    finally:
        server.close()


def test_a_port_in_use_is_named_with_the_remedy():
    server = AdminServer(AdminSettings(), ready_vitals(), "toy")
    server.start()
    try:
        with pytest.raises(ConfigurationError, match="CHIPSIEVE_ADMIN__PORT"):
            AdminServer(AdminSettings(port=server.port), ready_vitals(), "toy")
    finally:
        server.close()
