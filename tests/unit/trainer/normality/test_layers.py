from dataclasses import replace

import numpy as np
import pytest

from services.trainer.normality.layers import held_out_scores, peaks_of
from shared.vision.calibration import LayerCalibration, PlaceSpread
from shared.vision.inspection import picture_scores
from shared.vision.recipe import Layer, Recipe

LAYER = Layer(tap="b12", input_size=256)
RECIPE = Recipe(layers=(LAYER,))


def distances_with_an_odd_picture(pictures: int) -> np.ndarray:
    """(N, 8, 8), the last one odd at one place."""
    distances = np.random.default_rng(0).uniform(0.1, 0.2, (pictures, 8, 8)).astype(np.float32)
    distances[-1, 2:4, 2:4] = 1.0
    return distances


def test_an_odd_picture_scores_as_one_that_is_yet_to_come() -> None:
    distances = distances_with_an_odd_picture(12)
    calibration = LayerCalibration.of(distances, LAYER.top_fraction)
    scores = held_out_scores([distances], RECIPE, (calibration,), np.arange(12))
    without_it = replace(calibration, place=PlaceSpread.of(distances[:-1]))
    assert scores[-1] == picture_scores([distances[-1:]], RECIPE, (without_it,))[0]
    assert scores[-1] > 2 * picture_scores([distances], RECIPE, (calibration,))[-1]


def test_pictures_that_were_held_out_together_say_nothing_of_each_other() -> None:
    distances = distances_with_an_odd_picture(12)
    distances[-2] = distances[-1]
    calibration = LayerCalibration.of(distances, LAYER.top_fraction)
    scores = held_out_scores([distances], RECIPE, (calibration,), np.arange(12) // 2)
    without_them = replace(calibration, place=PlaceSpread.of(distances[:-2]))
    assert scores[-2:] == pytest.approx(picture_scores([distances[-2:]], RECIPE, (without_them,)))


def test_a_peak_is_that_of_the_oddest_place() -> None:
    maps = distances_with_an_odd_picture(3)
    peaks = peaks_of(maps)
    assert (peaks[:-1] < 0.2).all()
    assert peaks[-1] > 0.4
