from datetime import datetime, timedelta

from services.cli.archive import Found
from services.cli.explain.recomputation import Recomputed
from services.cli.explain.telling import Explanation
from shared.events import ChipInspected, Uninspected, UninspectedReason, Verdict
from tests.events_of_chips import NOON, identity


def told_of(captured_at: datetime, inspected_at: datetime) -> str:
    fields = identity(1).fields() | {"captured_at": captured_at}
    cause = Uninspected(reason=UninspectedReason.UNDECODABLE_IMAGE, detail="", stage="extractor")
    verdict = ChipInspected(**fields, verdict=Verdict.UNINSPECTED, uninspected=cause, inspected_at=inspected_at)
    found = Found(verdict, "inspections:0:0", 0)
    explanation = Explanation(found=found, manifest=None, recomputed=Recomputed(verdict), compared=(), travelled=False)
    return "\n".join(explanation.sentences())


def test_a_verdict_of_the_pictures_own_day_is_dated_once() -> None:
    assert f"captured {NOON:%Y-%m-%d} 12:00:00.000000 UTC, judged 12:00:01.000000; the" in told_of(
        NOON, NOON + timedelta(seconds=1)
    )


def test_a_verdict_of_another_day_is_dated_itself() -> None:
    late = NOON + timedelta(days=2)
    assert f"UTC, judged {late:%Y-%m-%d} 12:00:00.000000; the verdict" in told_of(NOON, late)


def test_a_picture_that_tells_why_it_was_not_inspected_gives_the_verdict_by_itself() -> None:
    assert "agrees: the picture gives this verdict, bit for bit" in told_of(NOON, NOON)
