from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from services.trainer.evaluation.metrics import auroc
from services.trainer.known_defects.head import Shown
from services.trainer.known_defects.patch_head import PatchTrial, answers_to, try_patch_head
from services.trainer.known_defects.places import DEFECTIVE, SOUND, UNTOLD, Places
from services.trainer.material.turned import TURNS, Turned
from services.trainer.progress import silent
from shared.events import FeatureGrid
from shared.vision.features import quantise
from shared.vision.recipe import Layer, Recipe

RECIPE = Recipe(layers=(Layer(tap="b7", input_size=64), Layer(tap="b12", input_size=64)))
NORMALS, ABNORMALS = 60, 20


@pytest.fixture(autouse=True)
def short_lessons() -> None:
    """Not here: as many as a product gets."""


def grids(*, defective: bool, random: np.random.Generator, shade: float = 0.0) -> tuple[FeatureGrid, ...]:
    """Noise with odd patches that are good; a defect is three more, odd in another way.

    Pictures differ by `shade` in what defects show by, everywhere alike.
    """
    fine, coarse = (random.standard_normal((side, side, 6)).astype(np.float32) for side in (8, 4))
    fine[..., 1] += shade * random.standard_normal()
    places = random.permutation(64)
    rows, columns = places // 8, places % 8
    fine[rows[:6], columns[:6], 0] += 8
    if defective:
        fine[rows[6:9], columns[6:9], 1] += 8
    return quantise(RECIPE.layers[0].name, fine), quantise(RECIPE.layers[1].name, coarse)


def framed(random: np.random.Generator, *, defective: bool, frame: bool) -> tuple[FeatureGrid, ...]:
    """Noise; a defect is three odd patches in the middle, a frame is ten at the edges that are odd in another way."""
    fine, coarse = (random.standard_normal((side, side, 6)).astype(np.float32) for side in (8, 4))
    if defective:
        fine[random.integers(2, 6, 3), random.integers(2, 6, 3), 1] += 8
    if frame:
        fine[random.choice([0, 7], 10), random.integers(0, 8, 10), 2] += 8
    return quantise(RECIPE.layers[0].name, fine), quantise(RECIPE.layers[1].name, coarse)


def pictures(normals: int, abnormals: int, seed: int, *, shade: float = 0.0) -> list[tuple[FeatureGrid, ...]]:
    random = np.random.default_rng(seed)
    return [grids(defective=index >= normals, random=random, shade=shade) for index in range(normals + abnormals)]


class Copies:
    """Copies that look like pictures of their own, and which were asked for."""

    def __init__(self, looked: Sequence[tuple[FeatureGrid, ...]]) -> None:
        self.looked = looked
        self.asked: list[tuple[int, int]] = []

    def __call__(self, pictures: NDArray[np.intp], turns: NDArray[np.intp]) -> Iterator[list[tuple[FeatureGrid, ...]]]:
        self.asked += zip(pictures.tolist(), turns.tolist(), strict=True)
        for start in range(0, len(pictures), 16):
            yield [self.looked[picture] for picture in pictures[start : start + 16]]


def blind_scores(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(NORMALS + ABNORMALS).astype(np.float32)


def untold(side: int) -> NDArray[np.int8]:
    places = np.full((NORMALS + ABNORMALS, side, side), SOUND, np.int8)
    places[NORMALS:] = UNTOLD
    return places


def in_the_middle(side: int) -> NDArray[np.int8]:
    """Where framed pictures' defects lie, mirrored or not."""
    places = np.full((NORMALS + ABNORMALS, side, side), SOUND, np.int8)
    places[NORMALS:, 2:6, 2:6] = DEFECTIVE
    return places


def tried(
    looked: list[tuple[FeatureGrid, ...]],
    scores: NDArray[np.float32],
    turned: Turned | None = None,
    places: Places = untold,
) -> PatchTrial:
    shown = Shown(
        descriptions=np.zeros((len(looked), 1), np.float32),
        fold_of=np.arange(len(looked)) % 10,
        scores=scores,
        kinds=("",) * ABNORMALS,
    )
    copies = turned or Copies(looked)
    return try_patch_head(looked, RECIPE, shown, places=places, turned=copies, seed=0, progress=silent)


@pytest.fixture(scope="module")
def copies() -> Copies:
    """Those that `trial` asked for."""
    return Copies(pictures(NORMALS, ABNORMALS, 0))


@pytest.fixture(scope="module")
def trial(copies: Copies) -> PatchTrial:
    """One for all tests that only look at it: it takes seconds."""
    return tried(list(copies.looked), blind_scores(0), copies)


def test_defects_are_found_in_pictures_of_any_shade() -> None:
    trial = tried(pictures(NORMALS, ABNORMALS, 0, shade=3), blind_scores(0))
    assert trial.head is not None
    answers = answers_to(pictures(40, 40, 1, shade=3), RECIPE, trial.head)
    assert (auroc(answers, np.arange(80) >= 40) or 0) > 0.9


def test_odd_patches_are_learnt_from_pictures_that_do_not_say_where_they_are(trial: PatchTrial) -> None:
    defective = np.arange(NORMALS + ABNORMALS) >= NORMALS
    assert trial.head is not None
    assert trial.report["joined"]
    assert (auroc(trial.scores, defective) or 0) > 0.9
    assert (auroc(blind_scores(0), defective) or 1) < 0.7
    new = pictures(40, 40, 1)
    answers = answers_to(new, RECIPE, trial.head)
    assert (auroc(trial.head.scores(answers), np.arange(80) >= 40) or 0) > 0.9


def test_masks_tell_a_defect_from_what_else_defective_pictures_have_in_common() -> None:
    random = np.random.default_rng(4)
    looked = [framed(random, defective=each, frame=each) for each in [False] * NORMALS + [True] * ABNORMALS]
    new = [framed(random, defective=each, frame=not each) for each in [False] * 40 + [True] * 40]

    def known_apart(places: Places) -> float:
        head = tried(looked, blind_scores(0), places=places).head
        assert head is not None
        return auroc(answers_to(new, RECIPE, head), np.arange(80) >= 40) or 0

    assert known_apart(untold) < 0.7
    assert known_apart(in_the_middle) > 0.95


def test_the_defects_answers_are_those_of_networks_that_had_not_seen_them(trial: PatchTrial, copies: Copies) -> None:
    head = trial.head
    assert head is not None
    assert len(head.known) == ABNORMALS
    assert head.known.mean() < answers_to(copies.looked[NORMALS:], RECIPE, head).mean()


def test_it_is_the_same_by_the_same_seed(trial: PatchTrial) -> None:
    again = tried(pictures(NORMALS, ABNORMALS, 0), blind_scores(0))
    assert trial.head is not None
    assert again.head is not None
    assert trial.head.figures == again.head.figures
    assert trial.head.network.inward.tobytes() == again.head.network.inward.tobytes()
    assert trial.scores.tobytes() == again.scores.tobytes()


def test_where_nothing_can_be_gained_none_joins_and_scores_stay() -> None:
    scores = np.arange(NORMALS + ABNORMALS, dtype=np.float32)  # right already
    trial = tried(pictures(NORMALS, ABNORMALS, 0), scores)
    assert trial.head is None
    assert trial.scores.tobytes() == scores.tobytes()
    assert not trial.report["joined"]


@pytest.mark.usefixtures("trial")
def test_every_picture_is_mirrored_in_every_way_up_to_a_limit_for_either_truth(
    copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, every = list(copies.looked), copies
    assert sorted(every.asked) == [(picture, turn) for picture in range(len(looked)) for turn in range(TURNS)]
    monkeypatch.setattr("services.trainer.known_defects.patch_lessons.MAX_LESSONS", 4 * ABNORMALS)
    tried(looked, blind_scores(0), some := Copies(looked))
    copies_of_good = [each for each in some.asked if each[0] < NORMALS]
    assert sorted(set(some.asked) - set(copies_of_good)) == [each for each in every.asked if each[0] >= NORMALS]
    # As large a share of the good ones that teach is mirrored as of the defective ones.
    assert len(set(copies_of_good)) == pytest.approx(TURNS * ABNORMALS, abs=8)


def test_no_copy_of_a_picture_that_is_held_out_teaches(trial: PatchTrial, copies: Copies) -> None:
    looked, others = list(copies.looked), pictures(NORMALS, ABNORMALS, 3)
    first_fold = np.arange(len(looked)) % 5 == 0
    spoilt = [other if out else own for own, other, out in zip(looked, others, first_fold, strict=True)]
    taught_otherwise = tried(looked, blind_scores(0), Copies(spoilt)).head
    assert trial.head is not None
    assert taught_otherwise is not None
    same = trial.head.known == taught_otherwise.known
    assert (same == first_fold[NORMALS:]).all()
