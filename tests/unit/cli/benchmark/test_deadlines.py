from datetime import UTC, datetime

import pytest

from services.cli.benchmark.deadlines import _figures, _Outage
from services.cli.benchmark.rig import BenchmarkFailed, Verdicts
from shared.events import ChipInspected, Uninspected, UninspectedReason, Verdict
from tests.events_of_chips import identity

LATE = Uninspected(reason=UninspectedReason.TOO_LATE, detail="", stage="extractor")
OUTAGE = _Outage(sent=6, stop_s=0.5, starting=140.0, ready=145.0)
AS_ASKED = {"rate": 100.0, "load": 0.5, "outage_s": 30.0, "deadline_ms": 2000}


def verdicts(*chips: tuple[float, float, bool]) -> Verdicts:
    """Of chips by when they were captured, when their verdict could be read, and whether they were shed."""
    found = Verdicts()
    for number, (captured, arrival, shed) in enumerate(chips):
        about = identity(
            number,
            captured_at=datetime.fromtimestamp(captured, UTC),
            verdict_by=datetime.fromtimestamp(captured + 2, UTC),
        )
        verdict = Verdict.UNINSPECTED if shed else Verdict.PASS
        found.add(
            ChipInspected(
                **about.fields(), verdict=verdict, uninspected=LATE if shed else None, inspected_at=about.captured_at
            ),
            arrival,
        )
    return found


def test_chips_are_on_time_again_from_the_capture_of_the_last_late_one_on() -> None:
    seen = verdicts(
        (100, 100.1, False),
        (120, 145.0, True),
        (130, 145.5, True),
        (147, 149.5, False),
        (148, 148.2, False),
        (150, 150.4, False),
    )
    figures = _figures(seen, OUTAGE, **AS_ASKED)
    assert (figures.late, figures.chips, figures.verdicts) == (3, 6, 6)
    assert figures.on_time_after_s == 2.0  # the chip of 147 was inspected, but too late
    assert figures.drain_images_per_second == 4.0
    assert 200 < figures.on_time_p99_ms <= 400
    assert (figures.start_s, figures.load_images_per_second) == (5.0, 50.0)


def test_where_no_chip_is_on_time_again_there_is_no_figure() -> None:
    with pytest.raises(BenchmarkFailed, match="lower --load or raise --deadline"):
        _figures(verdicts((150, 155.0, False)), OUTAGE, **AS_ASKED)
