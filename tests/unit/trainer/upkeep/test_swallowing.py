import numpy as np
import pytest

from services.trainer.errors import SwallowsDefects
from services.trainer.upkeep import swallowing
from services.trainer.upkeep.swallowing import Lost, refuse_to_swallow
from shared.bank.upkeep import Upkeep, UpkeepFigures
from shared.vision.bank import Bank
from shared.vision.calibration import Calibration
from shared.vision.promise import Promise
from shared.vision.recipe import Recipe

NAMES = tuple(f"{number:02}.png" for number in range(60))
NO_SCORES = np.zeros(1, np.float32)
UPKEEP = Upkeep(UpkeepFigures(defects=NAMES), NO_SCORES, NO_SCORES, np.zeros(1, np.int32))
PROMISE = Promise(asked_rate=0.1, promised_rate=0.1, confidence=0.9, pictures=1, tolerated=0)
THRESHOLD = 1.0


def lose(monkeypatch: pytest.MonkeyPatch, *numbers: int, passed: tuple[int, ...] = (), before: tuple[str, ...]) -> Lost:
    """An update after which these of 60 defects pass, of which some passed until now."""
    scores, after = np.full(60, 2, np.float32), np.full(60, 2, np.float32)
    scores[list(passed)] = 0
    after[list(numbers)] = 0
    monkeypatch.setattr(swallowing, "anomaly_scores", lambda *_: scores)
    bank = Bank(
        product="plate",
        version="",
        feature_space="",
        recipe=Recipe(layers=()),
        layers=(),
        calibration=Calibration(layers=(), promise=PROMISE),
        threshold=THRESHOLD,
        mask_threshold=0,
    )
    return refuse_to_swallow(bank, UPKEEP, after, THRESHOLD, before)


def test_one_of_sixty_may_be_lost_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = lose(monkeypatch, 7, before=())
    assert lost == Lost(("07.png",), 60)
    assert lost.warnings == [
        "1 of 60 known defects that were rejected before this update or an earlier one pass now: 07.png"
    ]
    assert lose(monkeypatch, before=()).warnings == []


def test_two_at_once_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SwallowsDefects, match=r"2 of 60 known defects .* for instance 07.png, 09.png: look"):
        lose(monkeypatch, 7, 9, before=())


def test_one_update_after_the_other_may_lose_no_more_than_one_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SwallowsDefects, match=r"1 of 60 .* instance 09.png, beside 1 that earlier updates lost: look"):
        lose(monkeypatch, 7, 9, passed=(7,), before=("07.png",))


def test_an_update_that_loses_none_is_not_refused_for_what_earlier_ones_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lose(monkeypatch, 7, 9, passed=(7, 9), before=("07.png", "09.png")).names == ("07.png", "09.png")


def test_a_lost_defect_that_is_rejected_again_is_lost_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lose(monkeypatch, 9, passed=(7,), before=("07.png",)).names == ("09.png",)


def test_defects_that_never_were_rejected_are_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lose(monkeypatch, 1, 2, 3, passed=(1, 2, 3), before=()).names == ()
