from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.trainer.known_defects.heads import learn_from_defects
from services.trainer.material.picture_features import Looked
from services.trainer.material.pictures import PictureFile
from services.trainer.normality.learning import Learnt
from services.trainer.progress import silent
from shared.vision.recipe import DEFAULT_RECIPE

NORMALS = 5


def looked(kind: str, count: int) -> Looked:
    files = tuple(PictureFile(Path(f"{kind}-{number}.png"), f"{kind}-{number}.png") for number in range(count))
    return Looked(files, sizes=(), grids=(), unreadable=())


@pytest.mark.parametrize(
    ("abnormals", "report"),
    [(0, None), *((count, {"joined": False, "why": "fewer than 3 defects to learn from"}) for count in (1, 2))],
)
def test_from_fewer_than_three_defects_nothing_is_learnt(abnormals: int, report: dict[str, Any] | None) -> None:
    nobody_asks: Any = None
    scores = np.arange(NORMALS + abnormals, dtype=np.float32)
    learnt = Learnt(
        recipe=DEFAULT_RECIPE,
        engine=nobody_asks,
        normals=looked("good", NORMALS),
        abnormals=looked("bad", abnormals),
        normality=nobody_asks,
        scores=scores,
        turned=None,
    )
    heads = learn_from_defects(
        learnt,
        fold_of=np.arange(NORMALS),
        normal_groups=None,
        abnormal_groups=None,
        masks=(None,) * abnormals,
        seed=0,
        progress=silent,
    )
    assert (heads.head, heads.patch_head, heads.report) == (None, None, report)
    assert heads.scores is scores
