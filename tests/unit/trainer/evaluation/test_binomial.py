import numpy as np
import pytest
from scipy.stats import binom

from services.trainer.evaluation.binomial import Counts, clopper_pearson

DEFECTIVE = np.arange(60) >= 40


def test_the_ends_leave_a_fortieth_to_either_side() -> None:
    low, high = clopper_pearson(7, 50, 0.95)
    assert binom.sf(6, 50, low) == pytest.approx(0.025)
    assert binom.cdf(7, 50, high) == pytest.approx(0.025)


def test_none_of_forty_may_be_one_in_eleven() -> None:
    assert clopper_pearson(0, 40, 0.95) == pytest.approx((0, 0.0881), abs=1e-4)
    assert clopper_pearson(40, 40, 0.95) == pytest.approx((0.9119, 1), abs=1e-4)


def test_each_rate_is_a_share_of_its_own_pictures() -> None:
    trials = Counts.of(DEFECTIVE, DEFECTIVE, None).trials
    assert trials == {
        "accuracy": 60,
        "precision": 20,
        "recall": 20,
        "f1": 20,
        "false_reject_rate": 40,
        "escape_rate": 20,
    }


def test_of_pictures_that_are_alike_groups_count() -> None:
    groups = [str(picture // 10) for picture in range(60)]
    alone, grouped = Counts.of(DEFECTIVE, DEFECTIVE, None), Counts.of(DEFECTIVE, DEFECTIVE, groups)
    assert grouped.at_an_end("false_reject_rate", 0.0, 0.95) == clopper_pearson(0, 4, 0.95)
    assert alone.at_an_end("false_reject_rate", 0.0, 0.95) == clopper_pearson(0, 40, 0.95)


def test_rates_between_the_ends_and_other_figures_have_none() -> None:
    counts = Counts.of(DEFECTIVE, DEFECTIVE, None)
    assert counts.at_an_end("recall", 0.5, 0.95) is None
    assert counts.at_an_end("image_auroc", 1.0, 0.95) is None
    assert Counts.of(~DEFECTIVE[:40], DEFECTIVE[:40], None).at_an_end("recall", 1.0, 0.95) is None
