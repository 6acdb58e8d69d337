from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.vision import products as module
from shared.vision.products import by_blas, by_openvino, products

Multiply = Callable[[np.ndarray, np.ndarray], np.ndarray]
WAYS = pytest.mark.parametrize("multiply", [by_blas, by_openvino])


def vectors(count: int, channels: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-128, 128, (count, channels)).astype(np.int8)


def columns_of(vectors: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(vectors.astype(np.float32).T)


@WAYS
@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 70), channels=st.integers(1, 1024), size=st.integers(1, 130), seed=st.integers(0, 2**32 - 1))
def test_products_are_exact(multiply: Multiply, rows: int, channels: int, size: int, seed: int) -> None:
    values, bank = vectors(rows, channels, seed), vectors(size, channels, seed + 1)
    expected = values.astype(np.int64) @ bank.astype(np.int64).T
    assert np.array_equal(multiply(values.astype(np.float32), columns_of(bank)), expected)


@WAYS
def test_products_of_the_largest_numbers_are_exact(multiply: Multiply) -> None:
    values = np.full((3, 1024), -128, np.int8)
    assert (multiply(values.astype(np.float32), columns_of(values)) == 2**24).all()


def test_more_channels_are_added_up_in_the_same_order_whatever_multiplies(monkeypatch: pytest.MonkeyPatch) -> None:
    values, bank = vectors(40, 2500, 0), vectors(30, 2500, 1)
    found = []
    for faster in (True, False):
        monkeypatch.setattr(module, "bf16_is_faster", lambda faster=faster: faster)
        found.append(products(values, columns_of(bank)))
    assert np.array_equal(*found)
    assert found[0] == pytest.approx(values.astype(np.int64) @ bank.astype(np.int64).T, rel=1e-6)


def test_threads_that_multiply_at_once_do_not_disturb_each_other() -> None:
    banks = [vectors(200, 64, seed) for seed in range(4)]

    def multiply(seed: int) -> bool:
        values = vectors(50 + seed, 64, 10 + seed)
        expected = values.astype(np.int64) @ banks[seed].astype(np.int64).T
        columns = columns_of(banks[seed])
        return all(np.array_equal(by_openvino(values.astype(np.float32), columns), expected) for _ in range(40))

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(multiply, range(4)))


def test_whoever_multiplies_anew_makes_no_new_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    values = vectors(2, 8, 0)
    by_openvino(values.astype(np.float32), columns_of(values))

    def fail() -> None:
        raise AssertionError("a graph was made anew")

    monkeypatch.setattr(module, "_Graph", fail)
    with ThreadPoolExecutor(1) as another:
        assert another.submit(by_openvino, values.astype(np.float32), columns_of(values)).result().shape == (2, 2)
