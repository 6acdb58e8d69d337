import subprocess
import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.vision import products as module
from shared.vision.products import as_columns, by_blas, by_openvino, products

ROOT = Path(__file__).parents[3]

Multiply = Callable[[np.ndarray, np.ndarray], np.ndarray]
WAYS = pytest.mark.parametrize("multiply", [by_blas, by_openvino])


def vectors(count: int, channels: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-128, 128, (count, channels)).astype(np.int8)


@WAYS
@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 300), channels=st.integers(1, 1024), size=st.integers(1, 130), seed=st.integers(0, 2**32 - 1)
)
def test_products_are_exact(multiply: Multiply, rows: int, channels: int, size: int, seed: int) -> None:
    values, bank = vectors(rows, channels, seed), vectors(size, channels, seed + 1)
    expected = values.astype(np.int64) @ bank.astype(np.int64).T
    assert np.array_equal(multiply(values, as_columns(bank))[:, :size], expected)


@WAYS
def test_products_of_the_largest_numbers_are_exact(multiply: Multiply) -> None:
    values = np.full((3, 1024), -128, np.int8)
    assert (multiply(values, as_columns(values))[:, :3] == 2**24).all()


def test_more_channels_are_added_up_in_the_same_order_whatever_multiplies(monkeypatch: pytest.MonkeyPatch) -> None:
    values, bank = vectors(40, 2500, 0), vectors(30, 2500, 1)
    found = []
    for faster in (True, False):
        monkeypatch.setattr(module, "bf16_is_faster", lambda faster=faster: faster)
        found.append(products(values, as_columns(bank))[:, :30])
    assert np.array_equal(*found)
    assert found[0] == pytest.approx(values.astype(np.int64) @ bank.astype(np.int64).T, rel=1e-6)


def test_threads_that_multiply_at_once_do_not_disturb_each_other() -> None:
    banks = [vectors(200, 64, seed) for seed in range(4)]

    def multiply(seed: int) -> bool:
        values, columns = vectors(50 + seed, 64, 10 + seed), as_columns(banks[seed])
        expected = values.astype(np.int64) @ banks[seed].astype(np.int64).T
        return all(np.array_equal(by_openvino(values, columns)[:, :200], expected) for _ in range(40))

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(multiply, range(4)))


def test_whoever_multiplies_anew_makes_no_new_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    values = vectors(2, 8, 0)
    by_openvino(values, as_columns(values))

    def fail() -> None:
        raise AssertionError("a graph was made anew")

    monkeypatch.setattr(module, "_Graph", fail)
    with ThreadPoolExecutor(1) as another:
        assert len(another.submit(by_openvino, values, as_columns(values)).result()) == 2


def test_batches_and_banks_of_any_size_are_multiplied_in_a_few_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each one stays in memory."""
    shapes = set()

    class GraphDouble:
        def multiply(self, factors: np.ndarray, columns: np.ndarray, _found: np.ndarray) -> None:
            shapes.add((*factors.shape, *columns.shape))

    monkeypatch.setattr(module, "bf16_is_faster", lambda: True)
    monkeypatch.setattr(module, "_free", deque([GraphDouble()]))
    for size in (1, 100, 256, 300, 500):
        columns = as_columns(np.ones((size, 8), np.int8))
        for rows in range(1, 600):
            by_openvino(np.ones((rows, 8), np.int8), columns)
    assert shapes == {(rows, 8, 8, columns) for rows in (64, 128, 192, 256) for columns in (256, 512)}


def test_openvino_is_loaded_without_its_telemetry() -> None:
    program = (
        "import sys, numpy as np;"
        "from shared.vision.products import as_columns, by_openvino;"
        "by_openvino(np.ones((1, 4), np.int8), as_columns(np.ones((1, 4), np.int8)));"
        "print('openvino' in sys.modules, sys.modules['openvino_telemetry'])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "True None\n"
