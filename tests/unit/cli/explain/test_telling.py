from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from services.cli.archive import Found
from services.cli.explain.agreement import compare
from services.cli.explain.recomputation import Recomputed, Share
from services.cli.explain.telling import Explanation
from shared.events import ChipInspected, Uninspected, UninspectedReason, Verdict
from tests.contract.examples import EXAMPLES
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


REJECT = replace(EXAMPLES["ChipInspected"], verdict=Verdict.REJECT, uninspected=None)
SHARES = (Share("b12@256/3", "cosine", 4.75), Share("known defects", None, -0.25))


def explained(engine: str | None = REJECT.engine, again: ChipInspected = REJECT, **more: Any) -> Explanation:
    """A reject that was made again as `again`, by an engine."""
    features = replace(EXAMPLES["FeaturesExtracted"], engine=engine)
    recomputed = Recomputed(again, np.zeros((480, 640, 3), np.uint8), features, SHARES)
    told = {"found": Found(REJECT, "inspections:3:9", 0), "travelled": True} | more
    return Explanation(manifest=None, recomputed=recomputed, compared=tuple(compare(REJECT, again)), **told)


def test_a_reject_is_told_with_what_it_was_made_of_and_where_it_lies() -> None:
    assert list(explained().sentences()) == [
        "chip tray 7/chip 3 of line-1, product soic8, event 0193-event",
        "captured 2026-11-24 16:15:00.123000 UTC, judged 16:15:00.456000; the verdict lies at inspections:3:9",
        "",
        "REJECT, most like a crack: the score 4.5000 is above the threshold 2.2500",
        "  score      b12@256/3 (cosine) +4.7500, known defects -0.2500; in deviations of good chips",
        "  where      2 regions above the mask's threshold; the worst peaks at 3.7500, 30 x 40 pixels at (10, 20)",
        "  picture    images:3:1099511627776, 640 x 480 pixels, sha256 as captured",
        "  bank       20261124T161500-ab12cd34, feature space 0123456789abcdef",
        "  engine     openvino 2026.2.1 f32 on Intel(R) Xeon(R) Processor",
        "",
        "made again from the picture, by the same code:",
        "  same     verdict: REJECT",
        "  same     uninspected: none",
        "  same     score: 4.5",
        "  same     threshold: 2.25",
        "  same     defect_kind: crack",
        "  same     bank_version: 20261124T161500-ab12cd34",
        "  same     feature_space: 0123456789abcdef",
        "  same     anomaly_map",
        "  same     mask",
        "  same     regions: 2",
        "  same     the features that travelled from extractor to matcher",
        "",
        "agrees: the picture and bank 20261124T161500-ab12cd34 give this verdict, bit for bit",
    ]


def test_a_score_that_reaches_its_threshold_is_not_above_it() -> None:
    passed = replace(REJECT, verdict=Verdict.PASS, score=2.25, defect_kind=None, mask=None, regions=())
    told = list(explained(found=Found(passed, "inspections:3:9", 0)).sentences())
    assert "PASS: the score 2.2500 is not above the threshold 2.2500" in told
    assert "  where      nowhere above the mask's threshold" in told


def test_what_differs_is_told_and_whose_engine_and_features_it_may_come_of() -> None:
    again = replace(REJECT, score=5.0, regions=REJECT.regions[:1])
    differing = explained(
        "tensorflow", again, features_differ="b12: 1 of 9 values", follows_from_travelled=True, travelled=True
    )
    told = list(differing.sentences())
    assert not differing.agrees
    assert "             made again with tensorflow: other last digits may come of that" in told
    assert "  DIFFERS  score: 4.5 was said, 5.0 comes out: 0.5 apart" in told
    assert told[-4:] == [
        "  DIFFERS  the features that travelled from extractor to matcher: b12: 1 of 9 values",
        "the verdict follows from the features that travelled",
        "",
        "differs in score, regions",
    ]
    document = differing.document()
    assert (document["agrees"], document["recomputed_with"]) == (False, "tensorflow")
    assert document["features"] == {
        "kept": True,
        "same": False,
        "difference": "b12: 1 of 9 values",
        "verdict_follows": True,
    }
    assert [each["field"] for each in document["compared"] if not each["same"]] == ["score", "regions"]


def test_features_that_are_gone_are_told_of_only_where_they_would_tell_something() -> None:
    gone = "the features that it was judged by are not kept any more: whether they differ cannot be told"
    differing = explained(again=replace(REJECT, score=5.0), travelled=False)
    assert gone in list(differing.sentences())
    assert gone not in list(explained(travelled=False).sentences())
    assert differing.document()["features"]["same"] is None


def test_verdicts_before_it_are_counted() -> None:
    told = list(explained(found=Found(REJECT, "inspections:3:9", 2)).sentences())
    assert told[2] == "2 earlier verdicts on this event; this is the last"
