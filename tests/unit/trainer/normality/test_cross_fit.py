import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from threadpoolctl import threadpool_info, threadpool_limits

from services.trainer.errors import TooFewNormals
from services.trainer.normality.cross_fit import (
    FOLDS,
    LayerPatches,
    held_out_distances,
    remember_patches,
    split_into_folds,
)
from services.trainer.progress import silent
from shared.vision.bank import LayerMemory
from shared.vision.features import quantise
from shared.vision.memory_bank import build_layer_bank
from shared.vision.recipe import Layer, Metric, Recipe

GROUPS = st.lists(st.sampled_from("abcdefghijklmnopqrst"), min_size=2).filter(lambda groups: len(set(groups)) > 1)


@given(groups=GROUPS, seed=st.integers(0, 100))
def test_a_group_is_on_one_side_only_and_no_fold_is_empty(groups: list[str], seed: int) -> None:
    folds = split_into_folds(groups, seed=seed)
    for group in set(groups):
        assert len({fold for fold, name in zip(folds, groups, strict=True) if name == group}) == 1
    assert set(folds) == set(range(min(FOLDS, len(set(groups)))))


def test_folds_are_about_equally_large() -> None:
    sizes = np.bincount(split_into_folds([str(picture) for picture in range(753)]))
    assert (len(sizes), sizes.min(), sizes.max()) == (10, 75, 76)


def test_neighbours_on_disk_are_dealt_to_different_folds_by_seed() -> None:
    groups = [f"{picture:03}" for picture in range(100)]
    first, again, other = (split_into_folds(groups, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len(set(first[:10])) > 3


@pytest.mark.parametrize("groups", [["only.png"], ["tray", "tray", "tray"]])
def test_nothing_can_be_held_out_of_one_picture_or_one_group(groups: list[str]) -> None:
    with pytest.raises(TooFewNormals, match="needs two at least"):
        split_into_folds(groups)


def test_a_held_out_picture_is_not_in_the_bank_it_is_measured_against() -> None:
    layer = Layer(tap="x", pool=1)
    features = np.random.default_rng(0).standard_normal((6, 2, 3, 8)).astype(np.float32)
    patches = LayerPatches.of([(quantise(layer.name, of_picture),) for of_picture in features], layer)
    [own_folds] = held_out_distances([patches], Recipe(layers=(layer,)), np.arange(6), seed=0, progress=silent)
    assert own_folds.shape == (6, 2, 3)
    assert (own_folds > 0.01).all()
    # With its like in three other folds, a picture is as near as can be.
    alike = LayerPatches(patches.values[[0, 0, 0, 0, 1]], patches.scales[[0, 0, 0, 0, 1]])
    [distances] = held_out_distances([alike], Recipe(layers=(layer,)), np.arange(5), seed=0, progress=silent)
    assert distances[:4] == pytest.approx(0, abs=1e-5)
    assert (distances[4] > 0.01).all()


def test_folds_side_by_side_multiply_by_one_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []

    def blas() -> list[int]:
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    def remember(layer: Layer, patches: LayerPatches, chosen: NDArray[np.bool_], seed: int) -> LayerMemory:
        threads.extend(blas())
        return remember_patches(layer, patches, chosen, seed)

    monkeypatch.setattr("services.trainer.normality.cross_fit.FOLDS_AT_ONCE", 2)
    layer = Layer(tap="x", pool=1)
    values = np.random.default_rng(0).integers(-127, 128, (6, 2, 3, 8)).astype(np.int8)
    patches = LayerPatches(values, np.ones((6, 2, 3), np.float32))
    with threadpool_limits(2):
        held_out_distances([patches], Recipe(layers=(layer,)), np.arange(6), seed=0, progress=silent, remember=remember)
        assert set(blas()) == {2}
    assert set(threads) == {1}


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_a_bank_draws_its_candidates_without_a_copy_of_all_patches(
    metric: Metric, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.vision.memory_bank.MAX_CANDIDATES", 300)
    random = np.random.default_rng(0)
    values = random.integers(-127, 128, (120, 10, 10, 96)).astype(np.int8)
    patches = LayerPatches(values, random.uniform(0.01, 0.1, (120, 10, 10)).astype(np.float32))
    chosen = random.random(120) < 0.9
    layer = Layer(tap="x", pool=1, metric=metric)
    copied = values[chosen].reshape(-1, 96)
    expected = build_layer_bank(copied, patches.scales[chosen].ravel(), metric, seed=3)
    assert len(expected.values) == 300
    tracemalloc.start()
    bank = patches.bank(chosen, layer, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(bank.values, expected.values)
    assert np.array_equal(bank.scales, expected.scales)
    assert peak < copied.nbytes
