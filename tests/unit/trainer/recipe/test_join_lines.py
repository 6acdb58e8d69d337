"""Layers of thin lines, and the recipes that they join."""

from dataclasses import replace

import numpy as np
import pytest

from services.trainer.material.rendered_defects import FAMILIES, THIN_LINES
from services.trainer.recipe.candidates import line_candidates
from services.trainer.recipe.choice import LINES_SHARE, Scores, Trial, join_lines, measured_auroc
from shared.vision.recipe import DEFAULT_RECIPE, Layer, Recipe

DARK, BRIGHT = line_candidates(256)
NONE = np.empty(0, np.float32)
PER_FAMILY, FAMILY_COUNT, THIN = 400, 8, (1,)
FAMILY_OF = np.arange(PER_FAMILY * FAMILY_COUNT) % FAMILY_COUNT


def trial(
    layer: Layer, apart: float, *, lines_apart: float | None = None, real_apart: float | None = None, seed: int
) -> Trial:
    """Scores of normals and of eight families lie so many deviations apart, those of the thin family perhaps others.

    So do real defects', where they are known.
    """
    random = np.random.default_rng(seed)
    spoilt = random.normal(apart, 1, len(FAMILY_OF))
    if lines_apart is not None:
        spoilt[THIN[0] == FAMILY_OF] += lines_apart - apart
    real = NONE if real_apart is None else random.normal(real_apart, 1, PER_FAMILY).astype(np.float32)
    scores = Scores(random.normal(0, 1, PER_FAMILY).astype(np.float32), spoilt.astype(np.float32), real)
    return Trial(layer, *measured_auroc(scores, FAMILY_OF), scores)


USUAL = [trial(layer, 1.0, seed=seed) for seed, layer in enumerate(DEFAULT_RECIPE.layers)]


def joined(*lines: Trial) -> Recipe:
    return join_lines(DEFAULT_RECIPE, USUAL, lines, FAMILY_OF, THIN)


def test_what_sees_lines_and_costs_the_rest_little_joins_with_a_third_of_the_banks_weight() -> None:
    recipe = joined(trial(DARK, 0.35, lines_apart=3.0, seed=9), trial(BRIGHT, 0.0, lines_apart=0.0, seed=10))
    assert recipe.layers == (*DEFAULT_RECIPE.layers, replace(DARK, weight=LINES_SHARE * len(DEFAULT_RECIPE.layers)))


def test_what_costs_the_rest_less_than_drawn_defects_can_rank_joins_too() -> None:
    dear = trial(DARK, 0.05, lines_apart=0.8, seed=9)
    recipe = joined(dear)
    assert recipe.layers[2:]
    banks = USUAL[0].scores + USUAL[1].scores
    all_three = banks + dear.scores.times(recipe.layers[2].weight)
    assert measured_auroc(all_three, FAMILY_OF)[0] < measured_auroc(banks, FAMILY_OF)[0]


def test_both_may_join() -> None:
    recipe = joined(trial(DARK, 0.5, lines_apart=2.0, seed=9), trial(BRIGHT, 0.5, lines_apart=2.0, seed=10))
    assert [layer.tap for layer in recipe.layers[2:]] == [DARK.tap, BRIGHT.tap]


@pytest.mark.parametrize(
    ("apart", "lines_apart"),
    [(-1.0, 3.0), (1.0, 0.0)],
    ids=["it costs the other families more", "it sees no lines"],
)
def test_what_does_not_do_both_is_left_out(apart: float, lines_apart: float) -> None:
    assert joined(trial(DARK, apart, lines_apart=lines_apart, seed=9)) == DEFAULT_RECIPE


def test_what_tells_real_defects_apart_joins_though_it_sees_no_drawn_lines() -> None:
    known = [trial(layer, 1.0, real_apart=1.0, seed=seed) for seed, layer in enumerate(DEFAULT_RECIPE.layers)]
    lines = [trial(DARK, 0.5, lines_apart=0.0, real_apart=2.0, seed=9)]
    assert join_lines(DEFAULT_RECIPE, known, lines, FAMILY_OF, THIN).layers[2:]
    assert joined(trial(DARK, 0.5, lines_apart=0.0, seed=9)) == DEFAULT_RECIPE


def test_what_was_given_up_is_not_compared() -> None:
    good = trial(DARK, 0.5, lines_apart=3.0, seed=9)
    assert joined(replace(good, scores=None)) == DEFAULT_RECIPE
    given_up = [USUAL[0], replace(USUAL[1], scores=None)]
    assert join_lines(DEFAULT_RECIPE, given_up, [good], FAMILY_OF, THIN) == DEFAULT_RECIPE


def test_families_of_lines_are_families() -> None:
    assert set(THIN_LINES) <= set(FAMILIES)
