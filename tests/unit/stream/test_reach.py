import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from shared.stream.reach import Reach, beginning

AGAIN = 100


def begin(committed: int | None, first: int, end: int, *, stage: str = "toy", cut_short: bool = False) -> int:
    return beginning("images:0", committed, Reach(first, end), stage=stage, again=AGAIN, cut_short=cut_short)


def counted(name: str, stage: str) -> float:
    return REGISTRY.get_sample_value(f"chipsieve_{name}_total", {"stage": stage}) or 0.0


@pytest.mark.parametrize(("committed", "first", "end"), [(0, 0, 0), (5, 0, 9), (9, 0, 9), (5, 5, 5), (5, 5, 9)])
def test_a_stage_goes_on_where_it_was_and_says_nothing(committed: int, first: int, end: int) -> None:
    with capture_logs() as told:
        assert begin(committed, first, end, stage="goes-on") == committed
    assert told == []
    assert counted("records_expired", "goes-on") == counted("logs_cut_short", "goes-on") == 0


def test_a_stage_that_never_committed_begins_at_the_first_record() -> None:
    with capture_logs() as told:
        assert (begin(None, 0, 0), told) == (0, [])
        assert begin(None, 0, 4) == 0
        assert begin(None, 7, 9) == 7
    assert [(line["event"], line["log_level"]) for line in told] == [("no_offset", "info"), ("no_offset", "warning")]


def test_records_that_expired_unread_are_told_of_and_counted() -> None:
    with capture_logs() as told:
        assert begin(5, 12, 20, stage="expires") == 12
    assert told == [
        {
            "event": "records_expired",
            "log_level": "error",
            "partition": "images:0",
            "expected": 5,
            "first": 12,
            "at_most": 7,
        }
    ]
    assert counted("records_expired", "expires") == 7


def test_in_a_log_cut_short_a_stage_goes_back_as_far_as_it_remembers() -> None:
    with capture_logs() as told:
        assert begin(1000, 0, 990, stage="cut") == 900
    assert told == [
        {
            "event": "log_cut_short",
            "log_level": "error",
            "partition": "images:0",
            "committed": 1000,
            "end": 990,
            "begins_at": 900,
        }
    ]
    assert counted("logs_cut_short", "cut") == 1


def test_it_goes_back_no_further_than_the_log_does() -> None:
    assert begin(50, 0, 40) == 0
    assert begin(1000, 950, 990) == 950


def test_a_log_with_nothing_of_what_is_remembered_is_read_whole() -> None:
    assert begin(1000, 3, 800) == 3


def test_a_log_known_to_be_cut_short_may_have_grown_beyond_the_offset_since() -> None:
    assert begin(1000, 0, 1200, cut_short=True) == 900
    assert begin(1000, 1000, 1200, cut_short=True) == 1000
