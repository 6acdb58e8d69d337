from dataclasses import replace

import numpy as np
import pytest

from services.trainer.recipe.candidates import candidates
from services.trainer.recipe.choice import Scores, Trial, choose, measured_auroc
from shared.vision.recipe import DEFAULT_RECIPE, Layer, Recipe


def trial(layer: Layer, apart: float) -> Trial:
    """A candidate whose scores of normals and of two families' defects lie so many deviations apart."""
    random = np.random.default_rng(0)
    scores = Scores(
        random.normal(0, 1, 400).astype(np.float32),
        random.normal(apart, 1, 400).astype(np.float32),
        np.empty(0, np.float32),
    )
    return Trial(layer, measured_auroc(scores, FAMILY_OF)[0], None, scores)


FAMILY_OF = np.arange(400) % 2
SMALL, *_, LATE = candidates(256)
LARGE = candidates(640)[0]
COSTS = {256: 5.0, 640: 30.0}


def sizes(recipe: Recipe) -> set[int]:
    return {layer.input_size for layer in recipe.layers}


def test_the_usual_recipe_is_kept_while_drawn_defects_show_it_about_as_good() -> None:
    usual = [trial(layer, 2.0) for layer in DEFAULT_RECIPE.layers]
    assert choose([*usual, trial(LARGE, 2.2)], FAMILY_OF, COSTS) == DEFAULT_RECIPE


def test_the_usual_recipe_looks_at_two_sizes_where_the_larger_does_as_well_and_is_affordable() -> None:
    usual = [trial(replace(layer, input_size=size), 2.0) for size in (256, 384) for layer in DEFAULT_RECIPE.layers]
    costs = {256: 5.0, 384: 10.0}
    both = choose(usual, FAMILY_OF, costs)
    assert [(layer.tap, layer.input_size) for layer in both.layers] == [
        *(("b12", 256), ("b14", 256)),
        *(("b12", 384), ("b14", 384)),
    ]
    assert choose(usual, FAMILY_OF, costs, max_ms=12) == DEFAULT_RECIPE
    worse = [*usual[:2], *(trial(each.layer, 1.8) for each in usual[2:])]
    assert choose(worse, FAMILY_OF, costs) == DEFAULT_RECIPE


def test_the_best_other_layer_at_its_sizes_stands_beside_the_usual_recipe() -> None:
    early, middle, larger = candidates(256)[0], candidates(256)[2], LARGE
    usual = [trial(layer, 2.0) for layer in DEFAULT_RECIPE.layers]
    others = [trial(early, 2.05), trial(middle, 2.1), trial(larger, 2.2)]
    found = choose([*others, *usual], FAMILY_OF, COSTS)
    assert found.layers == (*DEFAULT_RECIPE.layers, replace(middle, weight=0.2))
    assert choose([trial(early, 1.9), *usual], FAMILY_OF, COSTS) == DEFAULT_RECIPE
    given_up = Trial(middle, 0.96, None, None)
    assert choose([others[0], given_up, *usual], FAMILY_OF, COSTS).layers[-1].tap == early.tap


def test_the_usual_recipe_goes_where_it_is_blind_to_what_others_see() -> None:
    usual = [trial(layer, 0.5) for layer in DEFAULT_RECIPE.layers]
    assert sizes(choose([*usual, trial(LARGE, 2.5)], FAMILY_OF, COSTS)) == {640}


def test_half_of_the_score_stays_with_the_usual_recipe_where_it_sees_less_but_is_not_lost() -> None:
    tried = [*(trial(layer, 1.5) for layer in DEFAULT_RECIPE.layers), trial(LARGE, 2.5)]
    weights = {(layer.tap, layer.input_size): layer.weight for layer in choose(tried, FAMILY_OF, COSTS).layers}
    assert weights == {("b12", 256): 0.75, ("b14", 256): 0.75, ("b4", 640): 1.5}
    assert sizes(choose(tried, FAMILY_OF, COSTS, max_ms=31)) == {640}


def test_a_layer_that_is_chosen_and_usual_too_is_there_once() -> None:
    b12, b14 = DEFAULT_RECIPE.layers
    tried = [trial(b12, 2.4), trial(b14, 1.2), trial(LARGE, 2.5)]
    layers = choose(tried, FAMILY_OF, COSTS).layers
    assert len({layer.name for layer in layers}) == len(layers)
    assert sum(layer.weight for layer in layers) == pytest.approx(len(layers), abs=0.01)


def test_real_defects_may_rank_the_usual_recipe() -> None:
    tried = [*(trial(layer, 1.8) for layer in DEFAULT_RECIPE.layers), trial(LARGE, 2.2)]
    assert choose(tried, FAMILY_OF, COSTS) == DEFAULT_RECIPE
    real = [replace(each, auroc_on_real=each.auroc) for each in tried]
    assert choose(real, FAMILY_OF, COSTS) != DEFAULT_RECIPE


def test_what_does_better_weighs_more() -> None:
    recipe = choose([trial(SMALL, 2.5), trial(LATE, 2.2)], FAMILY_OF, COSTS)
    weights = {layer.tap: layer.weight for layer in recipe.layers}
    assert set(weights) == {"b4", "b14"}
    assert weights["b4"] > weights["b14"]
    assert sum(weights.values()) == pytest.approx(2, abs=0.01)


def test_what_does_much_worse_is_left_out() -> None:
    recipe = choose([trial(SMALL, 2.5), trial(LATE, 0.5)], FAMILY_OF, COSTS)
    assert [layer.tap for layer in recipe.layers] == ["b4"]


def test_the_cheaper_recipe_wins_a_tie() -> None:
    assert sizes(choose([trial(SMALL, 2.5), trial(LARGE, 2.5)], FAMILY_OF, COSTS)) == {256}


def test_a_busy_machine_changes_no_choice() -> None:
    trials = [trial(SMALL, 2.5), trial(LARGE, 2.5)]
    assert choose(trials, FAMILY_OF, {256: 99.0, 640: 1.0}) == choose(trials, FAMILY_OF, COSTS)


def test_a_better_recipe_is_worth_its_cost() -> None:
    assert sizes(choose([trial(SMALL, 0.5), trial(LARGE, 2.5)], FAMILY_OF, COSTS)) == {640}


def test_a_better_recipe_beyond_the_bound_is_not_taken() -> None:
    assert sizes(choose([trial(SMALL, 0.5), trial(LARGE, 2.5)], FAMILY_OF, COSTS, max_ms=10)) == {256}


def test_a_candidate_that_was_given_up_is_not_taken() -> None:
    given_up = Trial(LARGE, 0.99, None, None)
    assert sizes(choose([trial(SMALL, 1), given_up], FAMILY_OF, COSTS)) == {256}


def test_every_family_of_defects_counts_the_same_however_many_were_drawn() -> None:
    normal = np.zeros(4, np.float32)
    spoilt = np.array([1, 1, 1, -1], np.float32)
    quality, real = measured_auroc(Scores(normal, spoilt, np.empty(0, np.float32)), np.array([0, 0, 0, 1]))
    assert quality == 0.5
    assert real is None


def test_real_defects_count_as_much_as_all_drawn_ones() -> None:
    normal, found = np.zeros(4, np.float32), np.ones(3, np.float32)
    assert measured_auroc(Scores(normal, found, -found), np.zeros(3, np.intp)) == (0.5, 0.0)
