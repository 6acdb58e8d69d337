import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.vision.calibration import Spread
from shared.vision.errors import UnusableFeatures
from shared.vision.head import Head, HeadFigures, describe, described_layers, kernel
from shared.vision.recipe import Layer, Recipe


def make_head(features: int = 4, pictures: int = 3, kinds: tuple[str, ...] = ("blot", "crack")) -> Head:
    random = np.random.default_rng(0)
    figures = HeadFigures(
        weight=2.0, spread=Spread(mean=-1.0, std=0.5), gamma=0.5, offsets=(0.0,) * (1 + len(kinds)), kinds=kinds
    )
    return Head(
        figures,
        np.zeros(features, np.float32),
        np.ones(features, np.float32),
        random.standard_normal((pictures, features)).astype(np.float16),
        random.standard_normal((pictures, 1 + len(kinds))).astype(np.float32),
    )


def test_a_description_is_every_layers_mean_and_deviation_over_its_patches() -> None:
    fine = np.arange(16, dtype=np.float32).reshape(1, 2, 4, 2)
    coarse = np.ones((1, 1, 1, 3), np.float32)
    described = describe([fine, coarse])
    assert described.shape == (1, 2 * 2 + 2 * 3)
    assert described[0, :2] == pytest.approx(fine[0].mean(axis=(0, 1)))
    assert described[0, 2:4] == pytest.approx(fine[0].std(axis=(0, 1)))
    assert described[0, 4:] == pytest.approx([1, 1, 1, 0, 0, 0])


def test_a_grid_that_two_layers_read_describes_once() -> None:
    recipe = Recipe(layers=(Layer(tap="b4"), Layer(tap="b4", metric="l2"), Layer(tap="b7")))
    assert [layer.name for layer in described_layers(recipe)] == ["b4@256/3", "b7@256/3"]


@given(seed=st.integers(0, 100))
def test_similarity_is_one_to_itself_and_falls_with_distance(seed: int) -> None:
    points = np.random.default_rng(seed).standard_normal((5, 3)).astype(np.float32)
    similar = kernel(points, points, 0.7)
    assert np.diag(similar) == pytest.approx(1, abs=1e-5)
    exact = np.exp(-0.7 * ((points[:, None] - points[None]) ** 2).sum(axis=2))
    assert similar == pytest.approx(exact, abs=1e-5)


def test_far_from_all_that_was_shown_only_the_offsets_answer() -> None:
    head = make_head()
    assert head.answers(np.full((1, 4), 1e3, np.float32)) == pytest.approx(np.zeros((1, 3)))


def test_an_answer_does_not_depend_on_the_batch() -> None:
    head = make_head(features=768, pictures=300)
    chips = np.random.default_rng(1).standard_normal((6, 768)).astype(np.float32)
    one_by_one = np.concatenate([head.answers(chips[index : index + 1]) for index in range(6)])
    assert np.array_equal(head.answers(chips), one_by_one)


def test_descriptions_of_another_recipe_are_refused() -> None:
    with pytest.raises(UnusableFeatures, match="do not fit a head of 4 features"):
        make_head().answers(np.zeros((1, 5), np.float32))


def test_parts_that_do_not_fit_make_no_head() -> None:
    head = make_head()
    with pytest.raises(ValueError, match="weighs"):
        Head(head.figures, head.centre, head.scale, head.support, head.coefficients[:, :2])
    with pytest.raises(ValueError, match="centres"):
        Head(head.figures, head.centre[:3], head.scale, head.support, head.coefficients)
    with pytest.raises(ValueError, match="are float32"):
        Head(head.figures, head.centre.astype(np.float64), head.scale, head.support, head.coefficients)
    with pytest.raises(ValueError, match="support float16"):
        Head(head.figures, head.centre, head.scale, head.support.astype(np.float32), head.coefficients)
    with pytest.raises(ValueError, match="not positive"):
        Head(head.figures, head.centre, head.scale * 0, head.support, head.coefficients)
    with pytest.raises(ValueError, match="2 kinds has 1 offsets"):
        HeadFigures(weight=1, spread=Spread(mean=0, std=1), gamma=1, offsets=(0.0,), kinds=("a", "b"))
