from dataclasses import replace
from typing import Any

from services.trainer.evaluation.promises import broken_promises
from shared.vision.calibration import Calibration
from shared.vision.promise import Promise

REJECTS = Promise(asked_rate=0.05, promised_rate=0.05, confidence=0.9, pictures=200, tolerated=4)
ESCAPES = Promise(subject="escapes", asked_rate=0.1, promised_rate=0.1, confidence=0.9, pictures=80, tolerated=3)


def broken(*, rejects: Promise = REJECTS, escapes: Promise | None = None, **measured: Any) -> list[str]:
    figures: dict[str, Any] = {"false_reject_rate": None, "escape_rate": None, "groups": None, "ci95": {}} | measured
    figures["ci95"] = {"false_reject_rate": None, "escape_rate": None} | figures["ci95"]
    return broken_promises(Calibration(layers=(), promise=rejects, escape_promise=escapes), figures)


def test_a_rate_up_to_the_promised_one_breaks_nothing() -> None:
    assert broken(false_reject_rate=0.05, ci95={"false_reject_rate": (0.01, 0.1)}) == []


def test_a_rate_that_was_not_measured_or_not_promised_breaks_nothing() -> None:
    assert broken(escapes=ESCAPES) == []
    assert broken(escape_rate=0.9) == []


def test_a_little_too_many_may_be_chance() -> None:
    (sentence,) = broken(false_reject_rate=0.08, ci95={"false_reject_rate": (0.03, 0.14)})
    assert sentence.startswith("8.000% of the good pictures are rejected (95 % interval 3.000% to 14.000%) where at")
    assert "at most 5.000% were promised with 90% confidence" in sentence
    assert "chance: judge more" in sentence


def test_far_too_many_are_not() -> None:
    (sentence,) = broken(false_reject_rate=0.2, ci95={"false_reject_rate": (0.12, 0.28)})
    assert "more than chance explains" in sentence
    assert "Train again" in sentence


def test_pictures_of_groups_are_not_called_more_than_chance_one_by_one() -> None:
    by_groups = replace(REJECTS, groups=20, effective=40)
    far = {"false_reject_rate": 0.2, "ci95": {"false_reject_rate": (0.12, 0.28)}}
    (sentence,) = broken(rejects=by_groups, **far)
    assert "more than chance" not in sentence
    assert "cannot be told without --groups" in sentence
    (sentence,) = broken(rejects=by_groups, groups=20, **far)
    assert "more than chance explains" in sentence


def test_no_more_confidence_is_said_than_was_promised() -> None:
    (sentence,) = broken(rejects=replace(REJECTS, confidence=0.975), false_reject_rate=0.2)
    assert "with 97.5% confidence" in sentence


def test_both_promises_are_compared() -> None:
    rejects, escapes = broken(escapes=ESCAPES, false_reject_rate=0.2, escape_rate=0.3)
    assert "good pictures are rejected" in rejects
    assert "defective pictures are passed" in escapes
