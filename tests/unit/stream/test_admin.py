import json
import urllib.request

import pytest

from shared.errors import ConfigurationError
from shared.settings import AdminSettings
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


def test_metrics_tell_readiness_as_a_number():
    server = AdminServer(AdminSettings(), ready_vitals(), "toy")
    server.start()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10) as answer:
            assert 'chipsieve_ready{stage="toy"} 1.0' in answer.read().decode()
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
