from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.errors import StrangePictures
from services.trainer.upkeep import strangers
from services.trainer.upkeep.strangers import REFUSED_RISE, WARNED_RISE, Strangeness, refuse_strangers

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
    monkeypatch.setattr(strangers, "scores_by", lambda *_: scores)
    bank: Any = SimpleNamespace(product="soic-8", threshold=2.49)
    added: Any = SimpleNamespace(files=[SimpleNamespace(name=name) for name in ("a.png", "b.png", "c.png")])
    remembered = np.array([-0.25, 2.49], np.float32)
    (warning,) = refuse_strangers(bank, remembered, added, 3.54)
    assert warning == (
        "the new pictures' median score is 192.4, far above the threshold 2.49, and they are learnt as good: see "
        "whether they show good parts of soic-8, foremost c.png"
    )


def test_of_many_normals_their_spread_is_that_of_most() -> None:
    normals = np.append(np.random.default_rng(1).normal(0, 6, 500), [9000] * 9).astype(np.float32)
    assert Strangeness.of(normals, REMEMBERED, BEFORE, BEFORE).spread == pytest.approx(6, rel=0.1)


SCORES = st.lists(st.integers(-50, 150), min_size=1, max_size=30)


@given(SCORES, SCORES, st.integers(0, 40), st.integers(0, 80), st.sampled_from([-64, 64]))
def test_only_distances_between_scores_count(
    remembered: list[int], added: list[int], before: int, rise: int, shift: int
) -> None:
    """Every product's scores have a middle of their own."""
    here, there = (
        Strangeness.of(
            np.array(remembered, np.float32) + by,
            np.array(added, np.float32) + by,
            float(before + by),
            float(before + rise + by),
        )
        for by in (0, shift)
    )
    assert there.spread == pytest.approx(here.spread)
    assert there.rise == pytest.approx(here.rise)
    assert there.too_much == here.too_much


def test_how_far_above_is_too_far_is_counted_in_spreads() -> None:
    assert not strangeness([16, 18, 20], BEFORE + 1).too_much  # 12 above it, which are five or six spreads
    assert strangeness([31, 33, 35], BEFORE + 3).too_much


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Three pictures that a bundle gives the scores 6, 9 and 7, where its threshold is 6."""
    monkeypatch.setattr(strangers, "scores_by", lambda *_: np.array([BEFORE, 9, 7], np.float32))
    files = [SimpleNamespace(name=name) for name in ("good.png", "odd.png", "other.png")]
    return {"bank": SimpleNamespace(threshold=BEFORE, product="plate"), "added": SimpleNamespace(files=files)}


SPREAD = strangeness([7], BEFORE).spread


def test_a_threshold_that_rises_much_is_warned_of_by_the_oddest_picture(scored: Any) -> None:
    little, much = (BEFORE + (WARNED_RISE + by) * SPREAD for by in (-0.1, 0.1))
    assert refuse_strangers(remembered=REMEMBERED, after=little, **scored) == []
    (warning,) = refuse_strangers(remembered=REMEMBERED, after=much, **scored)
    assert warning.startswith(f"the threshold rises from 6 to {much:.4g}, so that")
    assert warning.endswith("foremost odd.png")
    (warning,) = refuse_strangers(remembered=REMEMBERED, after=much, counted=False, **scored)
    assert warning.startswith(f"the threshold would rise from 6 to {much:.4g} if all counted, so that")


def test_strangers_are_refused_with_how_many_are_rejected_and_the_oddest(scored: Any) -> None:
    after = BEFORE + (REFUSED_RISE + 0.1) * SPREAD
    with pytest.raises(StrangePictures, match=r"^2 of 3 .* score is 7, .* would rise .* parts of plate, foremost odd"):
        refuse_strangers(remembered=REMEMBERED, after=after, **scored)
