from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from shared.vision.engine import Engine
from shared.vision.engines.loading import load_engine
from shared.vision.recipe import BRIGHT_LINES, DARK_LINES, LINE_TAPS, Layer, Recipe
from shared.vision.thin_lines import DARKEST, REACH, filters

SIDE = 64
RECIPE = Recipe(layers=tuple(Layer(tap=tap, input_size=SIDE, pool=1, metric="place") for tap in LINE_TAPS))
DARK, BRIGHT = (layer.name for layer in RECIPE.layers)


@pytest.fixture(scope="module")
def engines(cache_dir: Path, converted_here: None) -> dict[str, Engine]:
    return {
        "openvino": load_engine("openvino", RECIPE, threads=1, cache_dir=cache_dir),
        "tensorflow": load_engine("tensorflow", RECIPE, threads=1),
    }


def plate(shade: int, line: int, *, start: tuple[int, int], end: tuple[int, int]) -> NDArray[np.uint8]:
    picture = np.full((SIDE, SIDE, 3), shade, np.uint8)
    return np.asarray(cv2.line(picture, start, end, (line, line, line), 1), np.uint8)


def found(engine: Engine, picture: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    return {layer: grid[0, :, :, 0] for layer, grid in engine.features(picture[None], SIDE).items()}


@pytest.mark.parametrize("kind", ["openvino", "tensorflow"])
def test_a_dark_line_is_found_where_it_lies_and_is_no_bright_one(engines: dict[str, Engine], kind: str) -> None:
    grids = found(engines[kind], plate(120, 80, start=(4, 24), end=(60, 24)))
    assert grids[DARK].shape == (4, 4)
    assert (grids[DARK][1] > 0.1).all()
    assert grids[DARK][3].max() < 0.01
    assert grids[BRIGHT].max() < grids[DARK].max() / 2


@pytest.mark.parametrize("angle", [0, 20, 45, 75, 110, 160])
def test_a_line_is_found_in_any_direction(engines: dict[str, Engine], angle: int) -> None:
    across, down = 25 * np.cos(np.radians(angle)), 25 * np.sin(np.radians(angle))
    ends = [(round(32 + sign * across), round(32 + sign * down)) for sign in (-1, 1)]
    grids = found(engines["openvino"], plate(120, 160, start=ends[0], end=ends[1]))
    assert grids[BRIGHT].max() > 0.02


def test_exposure_does_not_count(engines: dict[str, Engine]) -> None:
    one, brighter = (
        found(engines["openvino"], plate(shade, line, start=(8, 8), end=(56, 56)))[DARK].max()
        for shade, line in ((104, 84), (224, 184))  # with 16 more, each is twice the other
    )
    assert brighter == pytest.approx(one, rel=1e-3)


def test_an_even_picture_has_no_lines_not_even_at_its_edges(engines: dict[str, Engine]) -> None:
    for grid in found(engines["openvino"], np.full((SIDE, SIDE, 3), 200, np.uint8)).values():
        assert np.abs(grid).max() < 1e-4


def test_engines_agree_with_opencv(engines: dict[str, Engine]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    logarithm = np.log(picture.astype(np.float32).mean(axis=2) + np.float32(DARKEST))
    answers = np.stack([cv2.filter2D(logarithm, -1, each, borderType=cv2.BORDER_REFLECT_101) for each in kernels()])
    for name, strongest in ((DARK, answers.max(axis=0)), (BRIGHT, (-answers).max(axis=0))):
        expected = strongest.reshape(4, 16, 4, 16).max(axis=(1, 3))
        for engine in engines.values():
            np.testing.assert_allclose(found(engine, picture)[name], expected, rtol=1e-3, atol=1e-4)


def kernels() -> list[NDArray[np.float32]]:
    return list(filters()[:, :, 0].transpose(2, 0, 1))


def test_filters_answer_to_nothing_but_change() -> None:
    for kernel in kernels():
        assert kernel.shape == (2 * REACH + 1, 2 * REACH + 1)
        assert kernel.sum() == pytest.approx(0, abs=1e-6)
        assert np.abs(kernel).sum() == pytest.approx(1, rel=1e-5)


def test_filters_are_those_that_published_banks_were_made_with() -> None:
    kernel = filters()[:, :, 0, 1]
    row = [-0.043843, -0.028332, 0.000041, 0.014463, 0.012287, 0.005675, 0.001719]
    column = [-0.043843, -0.007440, 0.019023, 0.008089, 0.001097, 0.000096, 0.000043]
    np.testing.assert_allclose(kernel[REACH, REACH:], row, atol=1e-6)
    np.testing.assert_allclose(kernel[REACH:, REACH], column, atol=1e-6)


def test_taps_are_told_apart() -> None:
    assert {DARK_LINES, BRIGHT_LINES} == set(LINE_TAPS)
