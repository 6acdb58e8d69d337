"""All that is learnt from pictures of defects beside what normals teach: a patch head, then a head on top of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.trainer.evaluation.metrics import auroc
from services.trainer.known_defects.head import Shown, describe_all, try_head
from services.trainer.known_defects.patch_head import try_patch_head
from services.trainer.known_defects.places import known_places
from services.trainer.material.likeness import alike_groups
from services.trainer.material.numbered import Numbered
from services.trainer.material.pictures import kind_of
from services.trainer.material.turned import look_at_turned
from services.trainer.normality.cross_fit import split_into_folds
from services.trainer.normality.learning import Learnt
from services.trainer.progress import Progress
from shared.vision.head import Head
from shared.vision.patch_head import PatchHead

MIN_ABNORMALS = 3  # below it nothing can be learnt from some and tried on others


@dataclass(frozen=True, slots=True)
class Heads:
    """What joined the anomaly score."""

    head: Head | None
    patch_head: PatchHead | None
    scores: NDArray[np.float32]
    """(N + A,) held-out scores of normals and abnormals, with what joined."""
    report: dict[str, Any] | None
    """Plain JSON; None where there are no pictures of defects."""


def learn_from_defects(
    learnt: Learnt,
    *,
    fold_of: NDArray[np.intp],
    normal_groups: tuple[str, ...] | None,
    abnormal_groups: tuple[str, ...] | None,
    masks: Sequence[Path | None],
    seed: int,
    progress: Progress,
) -> Heads:
    """Learn from the abnormals, held out in folds of their own, and keep what helps there.

    Args:
        learnt: what N normals taught, and A pictures of defects beside them; none is fine.
        fold_of: (N,) fold in which each normal is held out.
        normal_groups: each normal's group, where groups are known.
        abnormal_groups: likewise; where only the normals' are known, abnormals that are alike are held out together.
        masks: each abnormal's, None where it has none.
        seed: of all that is drawn by lot.
        progress: told how far it is.
    """
    normals, abnormals, recipe = learnt.normals, learnt.abnormals, learnt.recipe
    scores = learnt.scores
    if not abnormals.files:
        return Heads(None, None, scores, None)

    def nothing(why: str) -> Heads:
        return Heads(None, None, scores, {"joined": False, "why": why})

    if len(abnormals.files) < MIN_ABNORMALS:
        return nothing(f"fewer than {MIN_ABNORMALS} defects to learn from")
    described = [describe_all(each.grids, recipe) for each in (normals, abnormals)]
    names = abnormal_groups or tuple(file.name for file in abnormals.files)
    if normal_groups and not abnormal_groups:  # where parts come several times, defective ones do too
        numbered = Numbered(normals.files, normal_groups)
        if numbered.tell() and numbered.also_number(abnormals.files):
            names = tuple(numbered.group_of(file) or file.name for file in abnormals.files)
        else:
            names = alike_groups(described[1], described[0], normal_groups, seed=seed)
    if len(set(names)) < MIN_ABNORMALS:
        return nothing(f"defects of fewer than {MIN_ABNORMALS} parts")
    shown = Shown(
        descriptions=np.concatenate(described),
        fold_of=np.concatenate([fold_of, split_into_folds(names, seed=seed)]),
        scores=scores,
        kinds=tuple(kind_of(file) for file in abnormals.files),
    )
    # The patch head first: with it, a head of whole pictures on tiles has less to add, and without it more to spoil.
    looked = [*normals.grids, *abnormals.grids]
    patches = try_patch_head(
        looked,
        recipe,
        shown,
        places=partial(known_places, len(normals.files), masks, abnormals.sizes),
        turned=look_at_turned((*normals.files, *abnormals.files), recipe, learnt.engine, progress),
        seed=seed,
        progress=progress,
    )
    whole = try_head(replace(shown, scores=patches.scores), seed=seed)
    report = {
        "joined": patches.report["joined"] or whole.report["joined"],
        "auroc_normals_only": learnt.anomaly_auroc,
        "auroc_joined": auroc(whole.scores, shown.is_abnormal),
        "by_patches": patches.report,
        "by_whole_pictures": whole.report,
    }
    return Heads(whole.head, patches.head, whole.scores, report)
