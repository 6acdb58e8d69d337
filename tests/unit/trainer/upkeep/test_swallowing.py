import numpy as np
import pytest

from services.trainer.errors import SwallowsDefects
from services.trainer.upkeep.swallowing import Lost, refuse_to_swallow

NAMES = tuple(f"{number:02}.png" for number in range(60))


def lose(*numbers: int, passed: tuple[int, ...] = (), before: tuple[str, ...] = ()) -> Lost:
    """An update after which these of 60 defects pass, of which some passed until now."""
    return refuse_to_swallow(NAMES, ~np.isin(range(60), passed), np.isin(range(60), numbers), before)


def test_one_of_sixty_may_be_lost_and_is_named() -> None:
    lost = lose(7)
    assert lost == Lost(("07.png",), 60)
    assert lost.warnings == [
        "1 of 60 known defects that were rejected before this update or an earlier one pass now: 07.png"
    ]
    assert lose().warnings == []


def test_two_at_once_are_too_many() -> None:
    with pytest.raises(SwallowsDefects, match=r"2 of 60 known defects .* for instance 07.png, 09.png: look"):
        lose(7, 9)


def test_one_update_after_the_other_may_lose_no_more_than_one_alone() -> None:
    with pytest.raises(SwallowsDefects, match=r"1 of 60 .* instance 09.png, beside 1 that earlier updates lost: look"):
        lose(7, 9, passed=(7,), before=("07.png",))


def test_an_update_that_loses_none_is_not_refused_for_what_earlier_ones_lost() -> None:
    assert lose(7, 9, passed=(7, 9), before=("07.png", "09.png")).names == ("07.png", "09.png")


def test_a_lost_defect_that_is_rejected_again_is_lost_no_more() -> None:
    assert lose(9, passed=(7,), before=("07.png",)).names == ("09.png",)


def test_defects_that_never_were_rejected_are_not_lost() -> None:
    assert lose(1, 2, 3, passed=(1, 2, 3)).names == ()
