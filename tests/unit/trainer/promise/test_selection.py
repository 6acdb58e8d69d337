import pytest
from scipy.special import betainc

from services.trainer.promise.promise import Evidence
from services.trainer.promise.selection import level_for_all


def test_one_candidate_needs_no_more_confidence_than_was_asked() -> None:
    assert level_for_all(Evidence(100, None, 100), 0, 0.95) == pytest.approx(0.95, abs=0.005)


def test_two_candidates_need_what_the_joint_distribution_says() -> None:
    """Of two uniform numbers: the chance that the smaller lies below its bound and the larger below its own."""
    level = level_for_all(Evidence(2, None, 2), 1, 0.95)
    smallest, largest = 1 - (1 - level) ** 0.5, level**0.5  # where each bound alone holds at the level
    both = largest**2 - (largest - smallest) ** 2
    assert betainc(1, 2, smallest) == pytest.approx(level)
    assert both == pytest.approx(0.95, abs=0.005)


def test_the_more_candidates_the_surer_each_must_be_and_alike_pictures_count_as_fewer() -> None:
    levels = [level_for_all(Evidence(200, None, 200), most, 0.95) for most in (0, 5, 20)]
    assert levels == sorted(levels)
    assert levels[-1] < 0.995
    assert level_for_all(Evidence(200, 20, 30), 20, 0.95) < levels[-1]
