from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from services.trainer.normality.cross_fit import LayerPatches
from services.trainer.progress import silent
from services.trainer.recipe import learnt_trial
from services.trainer.recipe.choice import LEARNT_SHARE, Scores, Trial, join_learnt, measured_auroc
from services.trainer.recipe.learnt_trial import LearntSample, try_learnt
from shared.vision.recipe import DEFAULT_RECIPE, Layer

LAYER = Layer(tap="b10", metric="learnt", top_fraction=0.05)
NORMALS, COPIES, ABNORMALS, GRID, CHANNELS = 24, 4, 3, 6, 5
NONE = np.empty(0, np.float32)


def sample(channel_of_family: tuple[int, ...], seed: int = 0) -> LearntSample:
    """Spoilt pictures of so many families, each of which adds to a channel of its own in a ninth of the picture."""
    random = np.random.default_rng(seed)
    spoilt = NORMALS * COPIES
    features = random.normal(0, 1, (NORMALS + spoilt + ABNORMALS, GRID, GRID, CHANNELS)).astype(np.float32)
    families = np.tile(np.arange(COPIES) % len(channel_of_family), NORMALS)
    change = np.zeros((spoilt, GRID, GRID), np.float32)
    for index, family in enumerate(families):
        change[index, :2, :2] = 20
        features[NORMALS + index, :2, :2, channel_of_family[family]] += 6
    features[-ABNORMALS:, 3:5, 3:5, channel_of_family[0]] += 6
    scales = (np.abs(features).max(axis=3) / 127).astype(np.float32)
    return LearntSample(
        patches=LayerPatches(np.rint(features / scales[..., None]).astype(np.int8), scales),
        change=change,
        fold_of=np.arange(NORMALS) % 3,
        base=np.repeat(np.arange(NORMALS), COPIES),
        families=families,
    )


def test_families_that_resemble_each_other_are_recognised_and_so_are_real_defects() -> None:
    scores = try_learnt(LAYER, sample((1, 1, 1, 1)), seed=0, progress=silent)
    assert (len(scores.normals), len(scores.spoilt), len(scores.abnormals)) == (NORMALS, NORMALS * COPIES, ABNORMALS)
    assert np.median(scores.spoilt) > scores.normals.max()
    assert np.median(scores.abnormals) > scores.normals.max()


def test_a_family_that_taught_its_judge_nothing_is_not_recognised_for_having_been_seen() -> None:
    """Each half of the families adds to a channel that the other half leaves alone."""
    halves_apart = try_learnt(LAYER, sample((1, 3, 1, 3)), seed=0, progress=silent)
    assert np.median(halves_apart.spoilt) < halves_apart.normals.max()


def test_no_picture_is_judged_by_a_network_that_it_or_a_copy_of_it_taught(monkeypatch: pytest.MonkeyPatch) -> None:
    taught_by: list[tuple[NDArray[np.bool_], NDArray[np.bool_]]] = []

    def teach(
        _: object, of_spoilt: NDArray[np.bool_], __: object, of_normals: NDArray[np.bool_], *, seed: int
    ) -> object:
        taught_by.append((of_spoilt, of_normals))
        number = len(taught_by) - 1
        return SimpleNamespace(distances=lambda patches, _: np.full(patches.scales.shape, number, np.float32))

    monkeypatch.setattr(learnt_trial, "teach", teach)
    shown = sample((1, 1, 1, 1))
    may = shown.families < 2
    networks = learnt_trial._held_out_distances(LAYER, shown, may, 0)[:, 0, 0].astype(int)
    for network, base in zip(networks, [*range(NORMALS), *shown.base], strict=False):
        of_spoilt, of_normals = taught_by[network]
        assert not of_normals[base]
        assert not of_spoilt[shown.base == base].any()
    for of_spoilt, of_normals in taught_by:  # all others do
        assert of_normals.sum() == NORMALS * 2 / 3
        assert (of_spoilt == may & of_normals[shown.base]).all()


def test_the_same_seed_finds_the_same() -> None:
    first, again = (try_learnt(LAYER, sample((1, 1, 1, 1)), seed=0, progress=silent) for _ in range(2))
    assert np.array_equal(first.spoilt, again.spoilt)
    assert np.array_equal(first.normals, again.normals)


FAMILY_OF = np.arange(400) % 2


def trial(layer: Layer, apart: float, seed: int) -> Trial:
    """A candidate whose scores of normals and defects lie so many deviations apart."""
    random = np.random.default_rng(seed)
    found = [random.normal(mean, 1, 400).astype(np.float32) for mean in (0, apart)]
    scores = Scores(*found, NONE)
    return Trial(layer, measured_auroc(scores, FAMILY_OF)[0], None, scores)


USUAL = [trial(layer, 1.0, seed) for seed, layer in enumerate(DEFAULT_RECIPE.layers)]


def test_a_learnt_layer_joins_where_it_sees_what_banks_do_not_with_half_their_weight() -> None:
    recipe = join_learnt(DEFAULT_RECIPE, USUAL, trial(LAYER, 1.5, 9), FAMILY_OF)
    assert recipe.layers == (*DEFAULT_RECIPE.layers, replace(LAYER, weight=LEARNT_SHARE * len(DEFAULT_RECIPE.layers)))


@pytest.mark.parametrize("apart", [0.0, 0.2])
def test_a_learnt_layer_that_sees_little_is_left_out(apart: float) -> None:
    assert join_learnt(DEFAULT_RECIPE, USUAL, trial(LAYER, apart, 9), FAMILY_OF) == DEFAULT_RECIPE


def test_a_learnt_layer_is_left_out_where_nothing_is_left_to_see() -> None:
    perfect = [trial(layer, 20.0, seed) for seed, layer in enumerate(DEFAULT_RECIPE.layers)]
    assert join_learnt(DEFAULT_RECIPE, perfect, trial(LAYER, 20.0, 9), FAMILY_OF) == DEFAULT_RECIPE


def test_a_recipe_with_a_layer_that_was_given_up_is_kept_as_it_is() -> None:
    given_up = [USUAL[0], replace(USUAL[1], scores=None)]
    assert join_learnt(DEFAULT_RECIPE, given_up, trial(LAYER, 3.0, 9), FAMILY_OF) == DEFAULT_RECIPE
