from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from services.trainer.known_defects import heads as known_heads
from services.trainer.known_defects.head import Shown, Trial
from services.trainer.known_defects.heads import Heads, learn_from_defects
from services.trainer.known_defects.patch_head import PatchTrial
from services.trainer.material.picture_features import Looked
from services.trainer.material.pictures import PictureFile
from services.trainer.normality.learning import Learnt
from services.trainer.progress import silent
from shared.vision.recipe import DEFAULT_RECIPE

NORMALS = 5


def looked(kind: str, numbers: Iterable[int]) -> Looked:
    names = [f"{kind}-{number}.png" for number in numbers]
    files = tuple(PictureFile(Path(name), name) for name in names)
    return Looked(files, sizes=((8, 8),) * len(files), grids=((),) * len(files), unreadable=())


def learn(scores: NDArray[np.float32], abnormals: Looked, **groups: Any) -> Heads:
    nobody_asks: Any = None
    learnt = Learnt(
        recipe=DEFAULT_RECIPE,
        engine=nobody_asks,
        normals=looked("good", range(NORMALS)),
        abnormals=abnormals,
        normality=nobody_asks,
        scores=scores,
        turned=None,
    )
    return learn_from_defects(
        learnt,
        fold_of=np.arange(NORMALS),
        **({"normal_groups": None, "abnormal_groups": None} | groups),
        masks=(None,) * len(abnormals.files),
        seed=4,
        progress=silent,
    )


@pytest.mark.parametrize(
    ("abnormals", "report"),
    [(0, None), *((count, {"joined": False, "why": "fewer than 3 defects to learn from"}) for count in (1, 2))],
)
def test_from_fewer_than_three_defects_nothing_is_learnt(abnormals: int, report: dict[str, Any] | None) -> None:
    scores = np.arange(NORMALS + abnormals, dtype=np.float32)
    heads = learn(scores, looked("bad", range(abnormals)))
    assert (heads.head, heads.patch_head, heads.report) == (None, None, report)
    assert heads.scores is scores


@pytest.fixture
def held_out_as(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """As what defects were held out; a patch head adds 1 to every score, and a head of whole pictures 10."""
    told: list[tuple[str, ...]] = []

    def split(names: tuple[str, ...], *, seed: int) -> NDArray[np.intp]:
        assert seed == 4
        told.append(names)
        return np.full(len(names), 9)

    def patch_head(grids: list[object], _: object, shown: Shown, **options: Any) -> PatchTrial:
        assert (len(grids), options["seed"]) == (len(shown.scores), 4)
        assert shown.fold_of.tolist() == [*range(NORMALS), *[9] * len(shown.kinds)]
        return PatchTrial(None, shown.scores + np.float32(1), {"joined": True})

    def alike(abnormals: NDArray[np.float32], normals: NDArray[np.float32], *_: object, seed: int) -> tuple[str, ...]:
        assert (len(normals), seed) == (NORMALS, 4)
        return tuple(f"alike {number // 2}" for number in range(len(abnormals)))

    monkeypatch.setattr(known_heads, "describe_all", lambda grids, _: np.zeros((len(grids), 1), np.float32))
    monkeypatch.setattr(known_heads, "split_into_folds", split)
    monkeypatch.setattr(known_heads, "try_patch_head", patch_head)
    monkeypatch.setattr(
        known_heads,
        "try_head",
        lambda shown, seed: Trial(None, shown.scores + np.float32(10 if seed == 4 else 0), {"joined": False}),
    )
    monkeypatch.setattr(known_heads, "alike_groups", alike)
    return told


TRAYS, MIXED = ("1", "1", "1", "2", "2"), ("1", "2", "1", "2", "1")


@pytest.mark.parametrize(
    ("groups", "names"),
    [
        ({}, tuple(f"scratch/bad-{number}.png" for number in range(10, 16))),
        ({"abnormal_groups": tuple("aabbcc")}, tuple("aabbcc")),
        ({"normal_groups": TRAYS, "abnormal_groups": tuple("aabbcc")}, tuple("aabbcc")),
        ({"normal_groups": MIXED}, ("alike 0", "alike 0", "alike 1", "alike 1", "alike 2", "alike 2")),
    ],
    ids=["each alone", "as told", "as told beside normals", "as they are alike"],
)
def test_defects_of_one_part_are_held_out_together_and_both_heads_count(
    held_out_as: list[tuple[str, ...]], groups: dict[str, Any], names: tuple[str, ...]
) -> None:
    scores = np.arange(NORMALS + 6, dtype=np.float32)
    heads = learn(scores, looked("scratch/bad", range(10, 16)), **groups)
    assert held_out_as == [names]
    assert heads.scores.tolist() == (scores + 11).tolist()
    assert heads.report is not None
    assert heads.report["joined"]


def test_where_numbers_tell_parts_defects_of_fewer_than_three_teach_nothing(held_out_as: list[tuple[str, ...]]) -> None:
    scores = np.arange(NORMALS + 6, dtype=np.float32)
    heads = learn(scores, looked("scratch/bad", range(10, 16)), normal_groups=("1",) * NORMALS)
    assert heads.report == {"joined": False, "why": "defects of fewer than 3 parts"}
    assert heads.scores is scores
    assert held_out_as == []
