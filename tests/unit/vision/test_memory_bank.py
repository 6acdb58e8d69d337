import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.vision.errors import BadRecipe, UnusableFeatures
from shared.vision.features import Patches
from shared.vision.memory_bank import LayerBank, build_layer_bank, greedy_coreset
from shared.vision.recipe import Metric

ROOT = Path(__file__).parents[3]


def make_patches(count: int, channels: int = 16, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    values = random.integers(-127, 128, (count, channels)).astype(np.int8)
    return values, random.uniform(0.01, 0.1, count).astype(np.float32)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_distances_are_those_of_a_plain_search(metric: Metric) -> None:
    bank = LayerBank(*make_patches(40))
    patches = Patches(*make_patches(7, seed=1))
    vectors = Patches(bank.values, bank.scales).features.astype(np.float64)
    expected = []
    for feature in patches.features.astype(np.float64):
        if metric == "cosine":
            lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(feature)
            expected.append(np.mean(sorted(1 - vectors @ feature / lengths)[:3]))
        else:
            root_mean_square = np.sqrt(np.mean(np.sum(vectors**2, axis=1)))
            expected.append(np.mean(sorted(np.linalg.norm(vectors - feature, axis=1))[:3]) / root_mean_square)
    assert bank.distances(patches, metric) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_chunks_change_no_distance(metric: Metric, monkeypatch: pytest.MonkeyPatch) -> None:
    bank = LayerBank(*make_patches(40))
    values, scales = make_patches(75, seed=2)
    patches = Patches(values.reshape(3, 5, 5, 16), scales.reshape(3, 5, 5))
    whole = bank.distances(patches, metric)
    monkeypatch.setattr("shared.vision.memory_bank.CHUNK_ELEMENTS", 400)
    assert whole.shape == (3, 5, 5)
    assert np.array_equal(bank.distances(patches, metric), whole)


@pytest.mark.parametrize("metric", ["hamming", "learnt", "place"])
def test_a_metric_that_a_memory_of_patches_does_not_measure_is_refused(metric: Any) -> None:
    bank = LayerBank(*make_patches(2))
    with pytest.raises(BadRecipe, match=f"not by '{metric}'"):
        bank.distances(Patches(*make_patches(1)), metric)


@given(seed=st.integers(0, 1000), brightness=st.floats(0.01, 100))
def test_cosine_does_not_see_how_strong_a_feature_is(seed: int, brightness: float) -> None:
    bank = LayerBank(*make_patches(20))
    values, scales = make_patches(4, seed=seed)
    brighter = Patches(values, scales * np.float32(brightness))
    assert np.array_equal(bank.distances(brighter, "cosine"), bank.distances(Patches(values, scales), "cosine"))


def test_no_distance_depends_on_its_company_the_threads_or_the_kind_of_processor() -> None:
    program = (
        "import hashlib, sys, numpy as np;"
        "from shared.vision import products;"
        "products.bf16_is_faster = lambda: sys.argv[1] == 'openvino';"
        "from shared.vision.features import Patches;"
        "from shared.vision.memory_bank import LayerBank;"
        "random = np.random.default_rng(0);"
        "some = lambda n: (random.integers(-127, 128, (n, 1100), dtype=np.int8), random.random(n, dtype=np.float32));"
        "bank, (values, scales) = LayerBank(*some(501)), some(4 * 49);"
        "found = [np.concatenate([bank.distances(Patches(values[at:at + n], scales[at:at + n]), metric)"
        " for at in range(0, len(values), n)]) for metric in ('cosine', 'l2') for n in (1, 49, 196)];"
        "print(*(hashlib.sha256(each.tobytes()).hexdigest() for each in found))"
    )
    digests = set()
    # OpenBLAS takes the kernels of the processor that it is told of; these two order their sums differently.
    for core, threads, way in (("Prescott", 2, "blas"), ("Haswell", 1, "blas"), ("Haswell", 1, "openvino")):
        environment = os.environ | {"OPENBLAS_CORETYPE": core, "OPENBLAS_NUM_THREADS": str(threads)}
        done = subprocess.run(
            [sys.executable, "-c", program, way], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
        )
        digests.add(done.stdout)
    (digest,) = digests
    cosine, l2 = digest.split()[:3], digest.split()[3:]
    assert len(set(cosine)) == len(set(l2)) == 1


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_what_was_seen_three_times_has_no_distance_and_what_was_seen_once_has_some(metric: Metric) -> None:
    values, scales = make_patches(20)
    bank = LayerBank(np.concatenate([values, values[:1], values[:1]]), np.concatenate([scales, scales[:1], scales[:1]]))
    thrice, once, *_ = bank.distances(Patches(bank.values, bank.scales), metric)
    assert thrice == pytest.approx(0, abs=2e-3)
    assert once > 0.01


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_a_patch_of_zeros_has_a_finite_distance(metric: Metric) -> None:
    bank = LayerBank(*make_patches(20))
    assert np.isfinite(bank.distances(Patches(np.zeros((1, 16), np.int8), np.zeros(1, np.float32)), metric)).all()


def test_a_bank_of_one_vector_measures_by_that_one() -> None:
    bank = LayerBank(np.array([[100, 0]], np.int8), np.ones(1, np.float32))
    patches = Patches(np.array([[0, 5], [7, 0]], np.int8), np.ones(2, np.float32))
    assert bank.distances(patches, "cosine") == pytest.approx([1, 0], abs=1e-6)


def test_features_of_another_number_of_channels_are_refused() -> None:
    with pytest.raises(UnusableFeatures, match="16 channels"):
        LayerBank(*make_patches(3)).distances(Patches(*make_patches(1, channels=8)), "cosine")


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


@given(distinct=st.integers(1, 30), channels=st.sampled_from([8, 65, 112, 320]), seed=st.integers(0, 1000))
def test_a_coreset_keeps_no_copies_of_features_that_are_projected_either(
    distinct: int, channels: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    members = random.permutation(np.repeat(np.arange(distinct), 7))
    features = random.random((distinct, channels), np.float32)[members]
    kept = greedy_coreset(features, 7 * distinct - 1)
    assert sorted(members[kept]) == list(range(distinct))


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
