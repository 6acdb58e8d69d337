from dataclasses import replace

import numpy as np
import pytest

from services.trainer.evaluation.metrics import auroc
from services.trainer.known_defects.head import Shown, _penalties, refit, try_head
from shared.vision.head import Head, kernel

DESCRIBED = 12


def show(*, shift: float, abnormals: int = 30, normals: int = 80, kinds: bool = True, seed: int = 0) -> Shown:
    """Defects that lie `shift` deviations off in one of two directions, and anomaly scores that hardly see them."""
    random = np.random.default_rng(seed)
    descriptions = random.standard_normal((normals + abnormals, DESCRIBED)).astype(np.float32)
    kind_of = np.arange(abnormals) % 2
    descriptions[normals + np.arange(abnormals), kind_of] += shift
    scores = random.standard_normal(normals + abnormals).astype(np.float32)
    scores[normals:] += 0.5
    return Shown(
        descriptions=descriptions,
        fold_of=np.arange(normals + abnormals) % 5,
        scores=scores,
        kinds=tuple(("crack", "blot")[kind] if kinds else "" for kind in kind_of),
    )


def test_a_head_joins_where_it_helps_and_its_held_out_scores_say_so() -> None:
    shown = show(shift=6)
    trial = try_head(shown)
    assert trial.head is not None
    assert (auroc(trial.scores, shown.is_abnormal) or 0) > 0.95
    assert (auroc(shown.scores, shown.is_abnormal) or 1) < 0.8
    assert trial.report["joined"]
    assert trial.report["gain"] > trial.report["noise"]


def test_a_head_learns_where_normals_are_all_the_same_in_some_way() -> None:
    shown = show(shift=0, kinds=False)
    shown.descriptions[:, 3] = shown.is_abnormal  # a million deviations: more than float16 can tell
    trial = try_head(shown)
    assert trial.head is not None
    assert np.isfinite(trial.head.support).all()
    assert (auroc(trial.scores, shown.is_abnormal) or 0) > 0.95
    more = shown.descriptions[-4:]
    assert np.isfinite(refit(trial.head, len(shown.kinds), more, tuple("abcd")).defects).all()


def test_a_head_that_has_nothing_to_learn_does_not_join() -> None:
    for seed in range(5):
        shown = show(shift=0, seed=seed)
        trial = try_head(shown)
        if trial.head is None:
            assert np.array_equal(trial.scores, shown.scores)
        else:  # what chance lets in is at least better on what was held out
            assert trial.report["gain"] > trial.report["noise"]


@pytest.mark.parametrize(
    ("gain", "noise", "joins"),
    [(0.001, 0.003, True), (0.0, 0.003, False), (0.01, 0.02, False), (0.03, 0.02, True)],
    ids=["little noise", "no gain", "within noise", "beyond noise"],
)
def test_any_gain_counts_where_there_is_little_noise(
    monkeypatch: pytest.MonkeyPatch, gain: float, noise: float, joins: bool
) -> None:
    monkeypatch.setattr("services.trainer.known_defects.joining.gain_of", lambda *_: (gain, noise))
    trial = try_head(show(shift=6, kinds=False))
    assert (trial.head is not None) == joins == trial.report["joined"]


def perfect(*, kinds: bool) -> Shown:
    shown = show(shift=6, kinds=kinds)
    return Shown(shown.descriptions, shown.fold_of, shown.is_abnormal.astype(np.float32) * 9, shown.kinds)


def test_where_normals_alone_are_right_already_no_head_joins() -> None:
    assert try_head(perfect(kinds=False)).head is None


def test_there_it_may_still_name_kinds_and_adds_nothing() -> None:
    shown = perfect(kinds=True)
    trial = try_head(shown)
    assert trial.head is not None
    assert np.array_equal(trial.scores, shown.scores)
    answers = trial.head.answers(shown.descriptions)
    assert not trial.head.scores(answers).any()
    assert trial.head.kinds(answers)[-2:] == list(shown.kinds[-2:])
    assert not trial.report["joined"]


def test_new_chips_get_the_kind_they_look_like() -> None:
    shown, new = show(shift=6), show(shift=6, seed=1)
    head = try_head(shown).head
    assert head is not None
    answers = head.answers(new.descriptions)
    named = [kind for kind, abnormal in zip(head.kinds(answers), new.is_abnormal, strict=True) if abnormal]
    assert np.mean([name == kind for name, kind in zip(named, new.kinds, strict=True)]) > 0.9
    assert (auroc(head.scores(answers), new.is_abnormal) or 0) > 0.95


def test_defects_without_names_teach_no_kinds() -> None:
    trial = try_head(show(shift=6, kinds=False))
    assert trial.head is not None
    assert trial.head.figures.kinds == ()
    assert trial.head.kinds(trial.head.answers(np.zeros((2, DESCRIBED), np.float32))) == [None, None]


def test_five_defects_can_be_learnt_from() -> None:
    trial = try_head(show(shift=8, abnormals=5))
    assert trial.report["auroc_joined"] > trial.report["auroc_without"]


def test_the_same_seed_learns_the_same() -> None:
    first, second = try_head(show(shift=6)), try_head(show(shift=6))
    assert first.head is not None
    assert second.head is not None
    assert first.head.figures == second.head.figures
    assert np.array_equal(first.head.coefficients, second.head.coefficients)


def test_a_head_that_is_fitted_again_answers_as_if_it_had_not_seen_what_it_is_asked() -> None:
    shown = show(shift=6)
    head = try_head(shown).head
    assert head is not None
    more = np.random.default_rng(7).standard_normal((10, DESCRIBED)).astype(np.float32)
    whole = refit(head, 30, more, list("aabbccddee"))
    assert len(whole.head.support) == 120
    # The group left out: the same as to fit without it, and to ask then.
    without = refit(head, 30, more[2:], list("bbccddee")).head
    assert whole.normals[:2] == pytest.approx(without.answers(more[:2])[:, 0], abs=0.05)
    assert (whole.normals < 0).all()
    assert (whole.defects > 0).mean() > 0.9
    assert whole.head.kinds(whole.head.answers(more)) == head.kinds(head.answers(more))


def test_normals_that_a_head_takes_for_defects_are_taken_for_normal_once_it_has_seen_their_like() -> None:
    shown, like = show(shift=6), show(shift=6, seed=3)
    head = try_head(shown).head
    assert head is not None
    refused = like.descriptions[like.is_abnormal][::2] + np.float32(1)  # look like one kind, but are good after all
    assert (head.answers(refused)[:, 0] > 0).mean() > 0.5
    again = refit(head, 30, refused, [str(index) for index in range(len(refused))]).head
    assert (again.answers(refused)[:, 0] < 0).mean() > 0.8


def test_defects_of_a_part_are_left_out_together() -> None:
    """Four pictures a part: with three of them known, the fourth tells nothing of the next part."""
    random = np.random.default_rng(0)
    parts = [f"part{number // 4}" for number in range(32)]
    shown = show(shift=0, abnormals=32)
    shown.descriptions[-32:] = np.repeat(3 * random.standard_normal((8, DESCRIBED)), 4, axis=0)
    shown.descriptions[-32:] += 0.1 * random.standard_normal((32, DESCRIBED))
    trial = try_head(replace(shown, scores=np.zeros(112, np.float32), kinds=("crack", "blot") * 16))
    head = trial.head
    assert head is not None
    nothing = np.empty((0, DESCRIBED), np.float32)
    one_by_one = refit(head, 32, nothing, ()).defects
    by_part = refit(head, 32, nothing, (), defect_groups=parts).defects
    assert by_part.mean() < one_by_one.mean() - 0.3
    kept = np.array([part != "part3" for part in parts])
    support = np.concatenate([head.support[:-32], head.support[-32:][kept]])
    gram_without = refit(
        Head(head.figures, head.centre, head.scale, support, head.coefficients[: len(support)]), 28, nothing, ()
    ).head
    assert gram_without.answers(shown.descriptions[-32:][~kept])[:, 0] == pytest.approx(by_part[~kept], abs=0.05)


def test_answers_to_a_group_are_those_of_a_fit_to_all_others() -> None:
    head = try_head(show(shift=4)).head
    assert head is not None
    more = np.random.default_rng(1).standard_normal((9, DESCRIBED)).astype(np.float32)
    groups, defect_groups = list("abbcccccc"), [f"part{min(number, 9) // 3}" for number in range(30)]
    again = refit(head, 30, more, groups, defect_groups=defect_groups)
    support = again.head.support.astype(np.float32)
    group_of = np.array([f"old {number}" for number in range(80)] + groups + defect_groups)
    abnormal = np.arange(119) >= 89
    targets, similar = np.where(abnormal, 1.0, -1.0), kernel(support, support, head.figures.gamma).astype(np.float64)
    gram = similar + np.diag(_penalties(abnormal))
    for group in {*groups, *defect_groups}:
        others, left_out = group_of != group, group_of == group
        expected = similar[left_out][:, others] @ np.linalg.solve(gram[np.ix_(others, others)], targets[others])
        found = np.concatenate([again.normals, again.defects])[left_out[80:]]
        np.testing.assert_allclose(found, expected, atol=1e-4)
