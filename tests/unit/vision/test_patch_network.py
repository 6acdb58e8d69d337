import numpy as np
import pytest

from shared.vision.errors import UnusableFeatures
from shared.vision.patch_network import PatchNetwork

RANDOM = np.random.default_rng(0)
NETWORK = PatchNetwork(
    inward=RANDOM.standard_normal((24, 16), dtype=np.float32),
    biases=RANDOM.standard_normal(16, dtype=np.float32),
    outward=RANDOM.standard_normal(17, dtype=np.float32),
)


def test_it_gives_the_fourth_root_of_the_softplus_of_what_its_two_layers_say() -> None:
    features = RANDOM.standard_normal((5, 24), dtype=np.float32)
    hidden = np.maximum(features @ NETWORK.inward + NETWORK.biases, 0)
    odds = (hidden * NETWORK.outward[:16]).sum(axis=1) + NETWORK.outward[16]
    softplus = np.log1p(np.exp(odds.astype(np.float64)))
    assert NETWORK.nearest(features, "learnt") == pytest.approx(softplus**0.25, rel=1e-4)


def test_no_number_is_negative_and_large_odds_overflow_nothing() -> None:
    features = 1000 * RANDOM.standard_normal((50, 24), dtype=np.float32)
    found = NETWORK.nearest(features, "learnt")
    assert np.isfinite(found).all()
    assert (found >= 0).all()


def test_a_picture_is_judged_the_same_to_the_last_bit_whatever_lies_beside_it() -> None:
    features = RANDOM.standard_normal((9, 12, 12, 24), dtype=np.float32)
    together = NETWORK.distances(features, "learnt")
    for index, picture in enumerate(features):
        assert np.array_equal(NETWORK.distances(picture[None], "learnt")[0], together[index])


def test_features_of_another_layer_are_refused() -> None:
    with pytest.raises(UnusableFeatures, match=r"do not fit a patch network of 24 channels"):
        NETWORK.nearest(np.zeros((5, 25), np.float32), "learnt")
    with pytest.raises(UnusableFeatures, match=r"do not fit a patch network of 24 channels"):
        NETWORK.distances(np.zeros((1, 5, 5, 25), np.float32), "learnt")


@pytest.mark.parametrize(
    ("part", "array", "said"),
    [
        ("biases", np.zeros(15, np.float32), "biases"),
        ("outward", np.zeros(16, np.float32), "outward"),
        ("inward", np.zeros((24, 16), np.float64), "float32"),
    ],
)
def test_parts_that_do_not_fit_are_refused(part: str, array: np.ndarray, said: str) -> None:
    parts = {name: getattr(NETWORK, name) for name in ("inward", "biases", "outward")}
    with pytest.raises(ValueError, match=said):
        PatchNetwork(**(parts | {part: array}))
