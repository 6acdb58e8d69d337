import numpy as np
import pytest

from services.trainer.known_defects.joining import Joining, gain_of
from shared.vision.calibration import Spread

DEFECTIVE = np.arange(60) >= 40
RANDOM = np.random.default_rng(0)
BLIND = (3 * RANDOM.standard_normal(60)).astype(np.float32)
TELLING = (RANDOM.standard_normal(60) + 4 * DEFECTIVE).astype(np.float32)


def test_answers_join_by_the_weight_that_tells_most_apart_in_deviations_of_normals() -> None:
    joining = Joining.best(BLIND, TELLING, DEFECTIVE, (0.25, 1.0, 0.5), 0)
    assert joining.report["weight"] == 1.0
    assert joining.spread == Spread.of(TELLING[~DEFECTIVE], 0.02)
    assert joining.weight == pytest.approx(BLIND[~DEFECTIVE].std(), rel=1e-5)
    np.testing.assert_allclose(
        joining.scores, BLIND + joining.weight * joining.spread.standardise(TELLING), rtol=1e-4, atol=1e-4
    )


def test_of_weights_that_are_as_good_the_smallest_joins() -> None:
    joining = Joining.best(9 * DEFECTIVE.astype(np.float32), TELLING, DEFECTIVE, (0.5, 0.25, 1.0), 0)
    assert joining.report["weight"] == 0.25


def test_noise_is_of_the_gain_and_not_of_what_both_have_in_common() -> None:
    assert gain_of(BLIND, BLIND, DEFECTIVE, 0) == (0, 0)
    gain, noise = gain_of(BLIND, TELLING, DEFECTIVE, 0)
    assert 0.2 < gain < 0.6
    assert 0.03 < noise < 0.15
