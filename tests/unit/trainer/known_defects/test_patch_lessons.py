from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from services.trainer.known_defects.patch_lessons import DEVIATIONS, UNIT, PatchLessons, patches_on_one_grid
from services.trainer.known_defects.places import DEFECTIVE, SOUND, UNTOLD
from services.trainer.normality.small_network import SmallNetwork
from shared.events import FeatureGrid
from shared.vision.features import quantise
from shared.vision.recipe import Layer, Recipe

RECIPE = Recipe(layers=(Layer(tap="b7", input_size=64), Layer(tap="b12", input_size=64)))
LOOKED = 12  # of them four defective


@pytest.fixture(scope="module")
def looked() -> list[tuple[FeatureGrid, ...]]:
    """Pictures of different shade, with features far from zero and of different size."""
    random = np.random.default_rng(0)
    return [
        tuple(
            quantise(
                layer.name,
                (
                    (random.standard_normal((side, side, 6)) + random.standard_normal(6)) * np.geomspace(0.1, 10, 6)
                    + np.linspace(-5, 5, 6)
                ).astype(np.float32),
            )
            for layer, side in zip(RECIPE.layers, (8, 4), strict=True)
        )
        for _ in range(LOOKED)
    ]


def corners(side: int) -> NDArray[np.int8]:
    """Of defective pictures, the upper left patch is defective; the last one does not tell."""
    places = np.full((LOOKED, side, side), SOUND, np.int8)
    places[LOOKED - 4 : LOOKED - 1, 0, 0] = DEFECTIVE
    places[LOOKED - 1] = UNTOLD
    return places


@pytest.fixture(scope="module")
def lessons(looked: list[tuple[FeatureGrid, ...]]) -> PatchLessons:
    def look_at_turned(pictures: NDArray[np.intp], _turns: NDArray[np.intp]) -> Iterator[list[tuple[FeatureGrid, ...]]]:
        for picture in pictures:
            yield [looked[picture]]

    return PatchLessons.of(
        looked, RECIPE, np.arange(LOOKED) >= LOOKED - 4, places=corners, look_at_turned=look_at_turned, seed=0
    )


def test_patches_are_standardised_by_the_normals(lessons: PatchLessons, looked: list[tuple[FeatureGrid, ...]]) -> None:
    patches = patches_on_one_grid(looked, RECIPE, lessons.side)
    normals = patches[: LOOKED - 4].reshape(-1, 12)
    np.testing.assert_allclose(lessons.centre, normals.mean(axis=0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(lessons.scale, normals.std(axis=0), rtol=1e-4)
    standardised = (patches - lessons.centre) / lessons.scale
    np.testing.assert_allclose(lessons.patches * UNIT, standardised[lessons.shown], atol=float(UNIT) * 0.51)
    deviations = standardised[: LOOKED - 4] - standardised[: LOOKED - 4].mean(axis=1, keepdims=True)
    np.testing.assert_allclose(
        (deviations / lessons.deviation_scale).std(axis=(0, 1)), np.full(12, DEVIATIONS), rtol=1e-3
    )


def test_a_patch_beyond_what_is_held_is_held_as_the_farthest(looked: list[tuple[FeatureGrid, ...]]) -> None:
    far = [
        tuple(
            quantise(layer.name, np.full((side, side, 6), 1e4, np.float32))
            for layer, side in zip(RECIPE.layers, (8, 4), strict=True)
        )
    ]

    def none(_pictures: NDArray[np.intp], _turns: NDArray[np.intp]) -> Iterator[list[tuple[FeatureGrid, ...]]]:
        yield from ()

    def sound(side: int) -> NDArray[np.int8]:
        return np.full((LOOKED + 1, side, side), SOUND, np.int8)

    defective = np.arange(LOOKED + 1) >= LOOKED
    lessons = PatchLessons.of(looked + far, RECIPE, defective, places=sound, look_at_turned=none, seed=0)
    assert lessons.patches[LOOKED].min() == 127


def test_a_network_answers_while_it_is_taught_as_it_will_answer_then(
    lessons: PatchLessons, looked: list[tuple[FeatureGrid, ...]]
) -> None:
    network = SmallNetwork(24, np.random.default_rng(1))
    held = lessons.patches[:LOOKED].astype(np.float32)
    taught = network.of_unscaled(*lessons.in_units).log_odds_with_deviations(held)
    patches = patches_on_one_grid([looked[index] for index in lessons.shown[:LOOKED]], RECIPE, lessons.side)
    answers = network.of_unscaled(*lessons.unscaled).log_odds_with_deviations(patches)
    assert np.corrcoef(taught.ravel(), answers.ravel())[0, 1] > 0.999
    np.testing.assert_allclose(taught, answers, atol=0.1)  # of some four either way: patches are held in whole units


def test_what_is_known_of_patches_is_turned_with_the_picture(lessons: PatchLessons) -> None:
    for defective in range(LOOKED - 4, LOOKED - 1):
        known = lessons.places[lessons.shown == defective]
        assert known.shape == (4, 64)  # as it is, mirrored in either direction and turned by half
        assert sorted(np.argwhere(known == DEFECTIVE)[:, 1]) == [0, 7, 56, 63]
        assert (known == SOUND).sum() == 4 * 63
    assert (lessons.places[lessons.shown == LOOKED - 1] == UNTOLD).all()
    assert (lessons.places[~lessons.defective] == SOUND).all()
