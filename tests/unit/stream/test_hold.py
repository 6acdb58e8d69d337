import pytest
from structlog.testing import capture_logs

from shared.stream.hold import Hold
from shared.stream.vitals import Vitals


class Held:
    """A hold, what it tells, and its clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.vitals = Vitals(lambda: None)
        self.hold = Hold(self.vitals, clock=lambda: self.now)

    @property
    def seconds(self) -> float:
        """For how long it still holds."""
        return self.hold.until - self.now


@pytest.fixture
def held() -> Held:
    return Held()


def test_a_wait_is_longer_each_time_until_a_batch_is_committed(held: Held):
    waits = []
    for _ in range(3):
        held.hold.for_transaction("aborted")
        waits.append(round(held.seconds, 3))
    assert waits == [0.1, 0.2, 0.5]
    held.hold.batch_committed()
    assert (held.hold.is_over, held.vitals.waiting_for) == (True, None)
    held.hold.for_transaction("aborted")
    assert held.seconds == pytest.approx(0.1)


def test_where_nothing_follows_a_failed_transaction_the_next_failure_still_waits_longer(held: Held):
    held.hold.for_transaction("aborted")
    held.hold.nothing_follows()
    assert held.vitals.waiting_for is None
    held.hold.for_transaction("aborted")
    assert held.seconds == pytest.approx(0.2)


def test_a_reason_is_logged_once_also_where_it_counts_up(held: Held):
    with capture_logs() as logs:
        for sequence in range(3):
            held.hold.for_transaction(f"INVALID_TIMESTAMP at sequence {sequence}")
        held.hold.for_transaction("timed out")
        held.hold.batch_committed()
    assert [(line["event"], line.get("reason") or line["after"]) for line in logs] == [
        ("waiting", "INVALID_TIMESTAMP at sequence 0"),
        ("waiting", "timed out"),
        ("going_on", "timed out"),
    ]
