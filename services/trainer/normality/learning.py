"""What good pictures teach: banks and networks in the precision that the engine computes in, or in int8 beside it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.trainer.evaluation.metrics import auroc
from services.trainer.material.picture_features import Looked, look_at_all
from services.trainer.normality.cross_fit import Remember, remember_patches
from services.trainer.normality.drawn_patches import draw_patches, learnt_layers
from services.trainer.normality.int8 import Agreement, quantise
from services.trainer.normality.layers import Normality
from services.trainer.normality.turned_normals import turned_normals
from services.trainer.progress import Progress
from shared.vision.engine import Engine
from shared.vision.engines.loading import load_engine
from shared.vision.int8_graphs import Int8Graphs
from shared.vision.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Learnt:
    """What normals taught in one precision."""

    recipe: Recipe
    engine: Engine
    normals: Looked
    abnormals: Looked
    normality: Normality
    scores: NDArray[np.float32]
    """(N + A,) held-out anomaly scores of normals and abnormals."""
    turned: list[dict[str, Any]] | None
    """What was found of turned copies, as plain JSON; None where none were looked at."""

    @property
    def anomaly_auroc(self) -> float | None:
        """Of what is normal alone: what is learnt from defects has no share in it. None where no defects are known."""
        return auroc(self.scores, np.arange(len(self.scores)) >= len(self.normals.files))


def learn(
    normals: Looked,
    abnormals: Looked,
    recipe: Recipe,
    engine: Engine,
    fold_of: NDArray[np.intp],
    *,
    seed: int,
    progress: Progress,
) -> Learnt:
    """Learn what is normal.

    Args:
        normals: N good pictures, as the engine sees them.
        abnormals: defective ones, which are scored and teach nothing here.
        recipe: which features, compared how.
        engine: made for the recipe.
        fold_of: (N,) fold in which each normal is held out.
        seed: of coresets, networks and what is drawn.
        progress: told how far it is.
    """
    copies = turned_normals(normals, recipe, engine, fold_of, seed=seed, progress=progress)
    keep: Remember = copies.remember if copies else remember_patches
    if learnt_layers(recipe):
        keep = draw_patches(normals.files, recipe, engine, seed=seed, progress=progress, others=keep).remember
    normality = Normality.learn(normals.grids, recipe, fold_of, seed=seed, progress=progress, remember=keep)
    scores = np.concatenate([normality.scores, normality.anomaly_scores(abnormals.grids)])
    return Learnt(recipe, engine, normals, abnormals, normality, scores, copies.report if copies else None)


def learn_in_int8(
    in_float: Learnt, fold_of: NDArray[np.intp], *, seed: int, progress: Progress
) -> tuple[Learnt, Int8Graphs | None, dict[str, Any]]:
    """Learn the same in int8; what training continues with, its graphs where that is int8, and how the two compare."""
    recipe, graphs = quantise(in_float.recipe, in_float.normals.files, seed=seed, progress=progress)
    engine = load_engine("openvino", recipe, graphs=graphs)
    looked = [
        look_at_all(f"{name} pictures in int8", each.files, recipe, engine, progress)
        for name, each in (("good", in_float.normals), ("defective", in_float.abnormals))
    ]
    in_int8 = learn(looked[0], looked[1], recipe, engine, fold_of, seed=seed, progress=progress)
    defective = np.arange(len(in_float.scores)) >= len(fold_of)
    agreement = Agreement.of(in_float.scores, in_int8.scores, defective)
    taken = agreement.refused_because is None
    return in_int8 if taken else in_float, graphs if taken else None, agreement.report()
