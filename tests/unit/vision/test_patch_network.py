import numpy as np
import pytest

from shared.vision.errors import UnusableFeatures
from shared.vision.features import Patches
from shared.vision.patch_network import PatchNetwork

RANDOM = np.random.default_rng(0)


def make_patches(*shape: int) -> Patches:
    values = RANDOM.integers(-127, 128, (*shape, 24)).astype(np.int8)
    return Patches(values, RANDOM.uniform(0.001, 0.02, shape).astype(np.float32))


NETWORK = PatchNetwork(
    inward=RANDOM.standard_normal((24, 16), dtype=np.float32),
    biases=RANDOM.standard_normal(16, dtype=np.float32),
    outward=RANDOM.standard_normal(17, dtype=np.float32),
)


def test_it_gives_the_fourth_root_of_the_softplus_of_what_its_two_layers_say() -> None:
    patches = make_patches(5)
    hidden = np.maximum(patches.features @ NETWORK.inward + NETWORK.biases, 0)
    odds = (hidden * NETWORK.outward[:16]).sum(axis=1) + NETWORK.outward[16]
    softplus = np.log1p(np.exp(odds.astype(np.float64)))
    assert NETWORK.distances(patches, "learnt") == pytest.approx(softplus**0.25, rel=1e-4)


def test_no_number_is_negative_and_large_odds_overflow_nothing() -> None:
    patches = make_patches(50)
    found = NETWORK.distances(Patches(patches.values, 10_000 * patches.scales), "learnt")
    assert np.isfinite(found).all()
    assert (found >= 0).all()


def test_a_picture_is_judged_the_same_to_the_last_bit_whatever_lies_beside_it() -> None:
    patches = make_patches(9, 12, 12)
    together = NETWORK.distances(patches, "learnt")
    for index in range(9):
        alone = Patches(patches.values[index : index + 1], patches.scales[index : index + 1])
        assert np.array_equal(NETWORK.distances(alone, "learnt")[0], together[index])


def test_deviations_from_a_pictures_mean_count_as_if_they_stood_beside_its_patches() -> None:
    patches = make_patches(3, 50).features[..., :12]
    written_down = np.concatenate([patches, patches - patches.mean(axis=1, keepdims=True)], axis=2)
    np.testing.assert_allclose(
        NETWORK.log_odds_with_deviations(patches), NETWORK.log_odds(written_down), rtol=1e-4, atol=1e-4
    )


def test_deviations_are_a_pictures_own_to_the_last_bit() -> None:
    patches = make_patches(9, 144).features[..., :12]
    together = NETWORK.log_odds_with_deviations(patches)
    for index in range(9):
        assert np.array_equal(NETWORK.log_odds_with_deviations(patches[index : index + 1])[0], together[index])


def test_features_of_another_layer_are_refused() -> None:
    with pytest.raises(UnusableFeatures, match=r"do not fit a patch network of 24 channels"):
        NETWORK.distances(Patches(np.zeros((1, 5, 5, 25), np.int8), np.zeros((1, 5, 5), np.float32)), "learnt")


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
