import numpy as np
import pytest
from scipy.stats import beta, binom, t

from services.trainer.evaluation.binomial import Counts

DEFECTIVE = np.arange(60) >= 40


def counts(groups: list[str] | None = None) -> Counts:
    return Counts.of(DEFECTIVE, DEFECTIVE, groups)


def test_the_end_leaves_a_fortieth_beyond() -> None:
    low, high = counts().of_unvarying("recall", 1.0) or (0, 0)
    assert high == 1
    assert binom.pmf(20, 20, low) == pytest.approx(0.025)


def test_none_of_forty_may_be_one_in_eleven() -> None:
    assert counts().of_unvarying("false_reject_rate", 0.0) == pytest.approx((0, 0.0881), abs=1e-4)
    assert counts().of_unvarying("false_reject_rate", 1.0) == pytest.approx((0.9119, 1), abs=1e-4)


def test_each_figure_rests_on_its_own_pictures() -> None:
    assert counts().trials == {
        "accuracy": 60,
        "precision": 20,
        "recall": 20,
        "f1": 20,
        "false_reject_rate": 40,
        "escape_rate": 20,
        "image_auroc": 20,  # pairs
    }


def test_of_pictures_that_are_alike_groups_count() -> None:
    grouped = counts([str(picture // 10) for picture in range(60)])
    assert grouped.of_unvarying("false_reject_rate", 0.0) == pytest.approx((0, 0.6024), abs=1e-4)  # of four


def test_a_share_of_pictures_that_are_alike_rests_on_as_many_as_tell_as_much() -> None:
    grouped = counts([str(picture // 10) for picture in range(60)])  # 40 good pictures in four groups
    drawn = [0.2, 0.3, 0.4]
    few_groups = (t.ppf(0.975, 39) / t.ppf(0.975, 3)) ** 2
    effective = few_groups * 0.3 * 0.7 / (np.var(drawn) * 4 / 3)
    ends = beta.ppf(0.025, 0.3 * effective, 0.7 * effective + 1), beta.ppf(0.975, 0.3 * effective + 1, 0.7 * effective)
    assert grouped.of_varying("false_reject_rate", 0.3, drawn) == pytest.approx(ends)


def test_a_figure_that_does_not_vary_may_be_what_as_many_could_hide() -> None:
    """All nine of four defects and five good pictures rejected: in nine alike, a third may be different."""
    defective = np.arange(9) >= 5
    all_rejected = Counts.of(np.ones(9, np.bool_), defective, None)
    different = 1 - 0.025 ** (1 / 9)
    assert all_rejected.of_unvarying("accuracy", 4 / 9) == pytest.approx((4 / 9 - different, 4 / 9 + different))
    low, high = 4 / 9 - different, 4 / 9 + different  # right rejects among those rejected or defective
    f1 = 2 * low / (1 + low), 2 * high / (1 + high)
    assert all_rejected.of_unvarying("f1", 8 / 13) == pytest.approx(f1)
    assert all_rejected.of_unvarying("recall", 1.0) == pytest.approx((0.3976, 1), abs=1e-4)


def test_a_perfect_order_of_few_defects_is_no_sure_one() -> None:
    """Pairs of which no two share a picture are in order by a chance that is the AUROC, one independent of another."""
    low, high = counts().of_unvarying("image_auroc", 1.0) or (1, 0)
    assert (low, high) == (pytest.approx(0.025 ** (1 / 20)), 1)


def test_what_rests_on_nothing_has_none() -> None:
    assert Counts.of(~DEFECTIVE[:40], DEFECTIVE[:40], None).of_unvarying("recall", 1.0) is None
    assert counts().of_unvarying("au_pro", 1.0) is None
