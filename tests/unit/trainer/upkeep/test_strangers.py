from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from services.trainer.material.picture_features import Looked
from services.trainer.upkeep.strangers import REFUSED_RISE, Strangeness, refuse_strangers
from shared.vision.bank import Bank

REMEMBERED = np.random.default_rng(0).normal(0, 2, 120).astype(np.float32)
BEFORE = 6.0


def strangeness(added: list[float], after: float) -> Strangeness:
    return Strangeness.of(REMEMBERED, np.array(added, np.float32), BEFORE, after)


def test_false_rejects_that_lie_a_little_above_the_threshold_are_welcome() -> None:
    found = strangeness([6.5, 7, 9], 9.2)
    assert found.rise == pytest.approx(1.6, abs=0.3)
    assert not found.too_much


def test_what_raises_the_threshold_by_many_spreads_is_not() -> None:
    assert strangeness([30, 37, 42], 17).too_much
    assert strangeness([14.8, 60, 90], BEFORE + 1.1 * REFUSED_RISE * 2.2).too_much


def test_another_products_pictures_are_not_either_where_many_normals_keep_the_threshold_down() -> None:
    assert strangeness([30, 37, 42], BEFORE).too_much


def test_a_new_look_that_all_share_is_welcome_however_odd_it_was() -> None:
    assert not strangeness([2900, 3000, 3100], 21).too_much


def test_a_few_odd_ones_among_many_good_do_not_make_all_strangers() -> None:
    assert not strangeness([0, 1, 2, 1, 40], BEFORE).too_much


def test_of_few_normals_the_whole_range_is_their_spread() -> None:
    found = Strangeness.of(np.array([0, 1, 5], np.float32), np.array([6], np.float32), 5, 7)
    assert found.spread == 5


def test_another_products_pictures_that_two_normals_cannot_refuse_are_warned_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scores = np.array([182.9, 192.4, 214.9], np.float32)
    monkeypatch.setattr("services.trainer.upkeep.strangers.scores_by", lambda *_: scores)
    bank = cast("Bank", SimpleNamespace(product="soic-8", threshold=2.49))
    added = cast("Looked", SimpleNamespace(files=[SimpleNamespace(name=name) for name in ("a.png", "b.png", "c.png")]))
    remembered = np.array([-0.25, 2.49], np.float32)
    (warning,) = refuse_strangers(bank, remembered, added, 3.54)
    assert warning == (
        "the new pictures' median score is 192.4, far above the threshold 2.49, and they are learnt as good: see "
        "whether they show good parts of soic-8, foremost c.png"
    )
