from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.vision.calibration import Spread
from shared.vision.errors import UnusableFeatures
from shared.vision.patch_head import PatchHead, PatchHeadFigures, mean_of_top, on_one_grid
from shared.vision.patch_network import PatchNetwork, surety

FIGURES = PatchHeadFigures(weight=2.0, spread=Spread(mean=1.0, std=0.5), side=4, top_fraction=0.125)


def make_head(channels: int = 3) -> PatchHead:
    """Answers with the first channel where it is positive."""
    inward = np.zeros((channels, 1), np.float32)
    inward[0] = 1
    network = PatchNetwork(inward, np.zeros(1, np.float32), np.array([1, 0], np.float32))
    return PatchHead(FIGURES, network, np.ones(1, np.float32))


def noise(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_layers_meet_on_one_grid_by_area() -> None:
    fine, coarse = noise(2, 8, 8, 2), noise(2, 2, 2, 1, seed=1)
    met = on_one_grid([fine, coarse], 4).reshape(2, 4, 4, 3)
    np.testing.assert_allclose(met[..., :2], fine.reshape(2, 4, 2, 4, 2, 2).mean(axis=(2, 4)), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(met[..., 2], coarse[..., 0].repeat(2, axis=1).repeat(2, axis=2))


def test_a_grid_that_does_not_divide_keeps_every_channels_mean() -> None:
    layer = noise(1, 6, 9, 3)
    np.testing.assert_allclose(on_one_grid([layer], 4).mean(axis=1), layer.mean(axis=(1, 2)), rtol=1e-4, atol=1e-6)


def test_an_answer_is_the_mean_of_the_most_suspicious_patches() -> None:
    features = np.zeros((1, 4, 4, 3), np.float32)
    features[0, 1, 2, 0], features[0, 3, 3, 0], features[0, 0, 0, 0] = 5, 3, 1
    head = make_head()
    two_of_sixteen = surety(np.array([5, 3], np.float32))
    np.testing.assert_allclose(head.answers([features]), [two_of_sixteen.mean()], rtol=1e-6)
    assert head.scores(np.array([4], np.float32)).tolist() == [12]  # six deviations of weight two


def test_a_picture_that_is_brighter_everywhere_deviates_no_more() -> None:
    head = make_head(channels=6)
    head.network.inward[:] = np.roll(head.network.inward, 3, axis=0)  # sees the first deviation instead
    head = replace(head, figures=replace(FIGURES, deviations=True))
    features = noise(1, 4, 4, 3)
    np.testing.assert_allclose(head.answers([features + 7]), head.answers([features]), rtol=1e-4)
    with pytest.raises(UnusableFeatures, match="a patch head of 6 channels"):
        head.answers([noise(1, 4, 4, 6)])


def test_at_least_one_patch_counts() -> None:
    assert mean_of_top(np.array([[1, 7, 3]], np.float32), 0.01).tolist() == [7]


def test_a_pictures_answer_is_its_own_to_the_last_bit() -> None:
    features = [noise(16, 8, 8, 40), noise(16, 4, 4, 24, seed=1)]
    network = PatchNetwork(noise(64, 32), noise(32), noise(33))
    head = PatchHead(FIGURES, network, np.ones(1, np.float32))
    together = head.answers(features)
    for index in range(16):
        alone = head.answers([layer[index : index + 1] for layer in features])
        assert alone.tobytes() == together[index : index + 1].tobytes()


def test_features_of_other_layers_are_refused() -> None:
    with pytest.raises(UnusableFeatures, match="a patch head of 3 channels"):
        make_head().answers([noise(1, 4, 4, 2)])


@pytest.mark.parametrize(("side", "top_fraction"), [(0, 0.1), (4, 0), (4, 1.5)])
def test_figures_that_mean_nothing_are_refused(side: int, top_fraction: float) -> None:
    with pytest.raises(ValueError, match="patches a side"):
        PatchHeadFigures(weight=1.0, spread=Spread(mean=0, std=1), side=side, top_fraction=top_fraction)


def test_it_was_taught_by_some_defect() -> None:
    with pytest.raises(ValueError, match="answered"):
        PatchHead(FIGURES, make_head().network, np.empty(0, np.float32))
