import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.vision.errors import UnusableFeatures
from shared.vision.memory_bank import LayerBank, build_layer_bank, greedy_coreset
from shared.vision.recipe import Metric


def make_patches(count: int, channels: int = 16, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    values = random.integers(-127, 128, (count, channels)).astype(np.int8)
    return values, random.uniform(0.01, 0.1, count).astype(np.float32)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_distances_are_those_of_a_plain_search(metric: Metric) -> None:
    bank = LayerBank(*make_patches(40))
    values, scales = make_patches(7, seed=1)
    features = values.astype(np.float32) * scales[:, None]
    vectors = bank.vectors.astype(np.float64)
    expected = []
    for feature in features.astype(np.float64):
        if metric == "cosine":
            lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(feature)
            expected.append(np.mean(sorted(1 - vectors @ feature / lengths)[:3]))
        else:
            root_mean_square = np.sqrt(np.mean(np.sum(vectors**2, axis=1)))
            expected.append(np.mean(sorted(np.linalg.norm(vectors - feature, axis=1))[:3]) / root_mean_square)
    assert bank.nearest(features, metric) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_chunks_change_no_distance(metric: Metric, monkeypatch: pytest.MonkeyPatch) -> None:
    bank = LayerBank(*make_patches(40))
    features = np.random.default_rng(2).standard_normal((3, 5, 5, 16), np.float32)
    whole = bank.distances(features, metric)
    monkeypatch.setattr("shared.vision.memory_bank.CHUNK_ELEMENTS", 400)
    assert whole.shape == (3, 5, 5)
    assert bank.distances(features, metric) == pytest.approx(whole, abs=1e-6)


@given(seed=st.integers(0, 1000), brightness=st.floats(0.01, 100))
def test_cosine_does_not_see_how_strong_a_feature_is(seed: int, brightness: float) -> None:
    bank = LayerBank(*make_patches(20))
    features = np.random.default_rng(seed).standard_normal((4, 16), np.float32)
    assert bank.nearest(features * np.float32(brightness), "cosine") == pytest.approx(
        bank.nearest(features, "cosine"), abs=1e-5
    )


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_what_was_seen_three_times_has_no_distance_and_what_was_seen_once_has_some(metric: Metric) -> None:
    values, scales = make_patches(20)
    bank = LayerBank(np.concatenate([values, values[:1], values[:1]]), np.concatenate([scales, scales[:1], scales[:1]]))
    thrice, once, *_ = bank.nearest(bank.vectors, metric)
    assert thrice == pytest.approx(0, abs=2e-3)
    assert once > 0.01


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_a_patch_of_zeros_has_a_finite_distance_and_one_that_is_no_number_none(metric: Metric) -> None:
    bank = LayerBank(*make_patches(20))
    assert np.isfinite(bank.nearest(np.zeros((1, 16), np.float32), metric)).all()
    assert np.isnan(bank.nearest(np.full((1, 16), np.nan, np.float32), metric)).all()


def test_a_bank_of_one_vector_measures_by_that_one() -> None:
    bank = LayerBank(np.array([[100, 0]], np.int8), np.ones(1, np.float32))
    assert bank.nearest(np.array([[0, 5], [7, 0]], np.float32), "cosine") == pytest.approx([1, 0], abs=1e-6)


def test_features_of_another_number_of_channels_are_refused() -> None:
    with pytest.raises(UnusableFeatures, match="16 channels"):
        LayerBank(*make_patches(3)).nearest(np.zeros((1, 8), np.float32), "cosine")


def test_a_bank_without_vectors_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        LayerBank(np.zeros((0, 4), np.int8), np.zeros(0, np.float32))


def test_a_coreset_of_everything_is_everything() -> None:
    assert greedy_coreset(np.eye(5, dtype=np.float32), 9).tolist() == [0, 1, 2, 3, 4]


def test_a_coreset_takes_one_of_each_cluster_however_rare() -> None:
    random = np.random.default_rng(0)
    centres = random.standard_normal((6, 96)) * 10
    members = np.repeat(np.arange(6), [5000, 300, 100, 10, 3, 1])
    features = (centres[members] + random.standard_normal((len(members), 96)) * 0.01).astype(np.float32)
    assert sorted(members[greedy_coreset(features, 6)]) == [0, 1, 2, 3, 4, 5]


def test_a_coreset_keeps_no_copies() -> None:
    features = np.repeat(np.eye(4, dtype=np.float32), 25, axis=0)
    assert len(greedy_coreset(features, 50)) == 4


def test_a_coreset_covers_better_than_chance() -> None:
    features = np.random.default_rng(1).standard_normal((2000, 24)).astype(np.float32) ** 3

    def radius(kept: np.ndarray) -> float:
        gaps = np.linalg.norm(features[:, None] - features[kept][None], axis=2).min(axis=1)
        return float(gaps.max())

    random = np.random.default_rng(2).choice(2000, 60, replace=False)
    assert radius(greedy_coreset(features, 60)) < 0.7 * radius(random)


def test_the_same_seed_builds_the_same_bank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.vision.memory_bank.MAX_CANDIDATES", 200)
    values, scales = make_patches(500, channels=96)
    banks = [build_layer_bank(values, scales, "cosine", max_vectors=50, seed=seed) for seed in (3, 3, 4)]
    assert banks[0].values.shape == (50, 96)
    assert np.array_equal(banks[0].values, banks[1].values)
    assert not np.array_equal(banks[0].values, banks[2].values)
