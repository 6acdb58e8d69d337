from collections.abc import Iterator
from io import StringIO
from unittest.mock import MagicMock

import pytest
from rich.console import Console

from services.cli.benchmark import warming
from services.cli.benchmark.warming import MOST_ROUNDS, has_settled, warm_up


def test_a_broker_that_takes_less_with_every_round_is_not_warm() -> None:
    assert not has_settled([3.0, 2.4, 1.9])


def test_a_broker_is_warm_once_a_round_saves_next_to_nothing() -> None:
    assert has_settled([3.0, 1.0, 0.97])


def test_one_dear_round_on_the_way_down_does_not_look_like_the_end() -> None:
    assert not has_settled([3.0, 3.4, 2.4])


def test_two_rounds_tell_nothing() -> None:
    assert not has_settled([1.0, 1.0])


def told_of(monkeypatch: pytest.MonkeyPatch, spent: Iterator[float]) -> str:
    """What is said where the broker's rounds take so much CPU time."""
    cpu = MagicMock()
    cpu.of.return_value.since.side_effect = lambda: {"kafka": next(spent)}
    for name, double in (("CpuTimes", cpu), ("server_pids", MagicMock()), ("send", MagicMock())):
        monkeypatch.setattr(warming, name, double)
    told = StringIO()
    warm_up(MagicMock(), "soic-8", [b"picture"], Console(file=told, width=200))
    return told.getvalue()


def test_a_broker_that_does_not_get_warm_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    falling = iter([0.9**number for number in range(MOST_ROUNDS)])
    assert f"not warm after {MOST_ROUNDS} rounds: the line can do more than is measured now" in told_of(
        monkeypatch, falling
    )


def test_nothing_is_said_of_a_broker_that_is_warm(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "not warm" not in told_of(monkeypatch, iter([1.0] * MOST_ROUNDS))
