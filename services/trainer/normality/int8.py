"""Features in int8: graphs made for one product, and taken only where its scores stay.

Post-training quantisation by NNCF: how far activations reach is read off pictures of the product's normals. A rounded
feature is a little wrong, and what is told apart by little may be told apart no longer, so what was learnt in float is
learnt again in int8, on the same folds, and the two are compared on held-out pictures.
"""

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from services.trainer.errors import QuantisationFailed
from services.trainer.evaluation.metrics import auroc
from services.trainer.material.pictures import PictureFile
from services.trainer.progress import Progress
from shared import own_process
from shared.vision.cache import default_cache_dir
from shared.vision.engines.conversion import converted_graphs
from shared.vision.int8_graphs import Int8Graph, Int8Graphs
from shared.vision.picture import decode_as_stored, resize
from shared.vision.recipe import Recipe

CALIBRATION_PICTURES = 300  # by 64 a little more of the scores' order is lost
# Of held-out normals' scores, int8 against float. The same features in a bank drawn by another seed leave .95, and so
# do int8 graphs whose first stages stay in float; with those in int8 too, which costs AUROC, .83 to .86 are left.
LEAST_AGREEMENT = 0.9
MOST_LOST = 0.005  # image AUROC on held-out pictures, where defects are known
REMEDY = "train with --precision auto"
TIMEOUT_S = 1800.0  # a graph takes half a minute


@dataclass(frozen=True, slots=True)
class Agreement:
    """How scores in int8 compare with those in float, on the same held-out pictures."""

    normals: float
    """Rank correlation (Spearman) of the normals' scores."""
    auroc_float: float | None
    """None where no defects are known."""
    auroc_int8: float | None

    @classmethod
    def of(cls, scores: NDArray[np.float32], in_int8: NDArray[np.float32], defective: NDArray[np.bool_]) -> "Agreement":
        """Of (N,) scores each."""
        one, other = scores[~defective], in_int8[~defective]
        vary = min(np.ptp(one), np.ptp(other)) > 0  # no correlation is defined where all scores are the same
        return cls(
            normals=float(spearmanr(one, other).statistic) if vary else 0.0,
            auroc_float=auroc(scores, defective),
            auroc_int8=auroc(in_int8, defective),
        )

    @property
    def refused_because(self) -> str | None:
        """Why int8 is not taken; None where scores stay."""
        if self.normals < LEAST_AGREEMENT:
            return (
                f"good pictures' scores are in another order: their rank correlation with those in float is "
                f"{self.normals:.3f}, and {LEAST_AGREEMENT} is wanted"
            )
        if self.auroc_float is not None and self.auroc_int8 is not None:
            lost = self.auroc_float - self.auroc_int8
            if lost > MOST_LOST:
                return (
                    f"it costs {lost:.4f} of image AUROC on held-out pictures, and {MOST_LOST} at most is given for it"
                )
        return None

    def report(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "taken": self.refused_because is None,
            "refused_because": self.refused_because,
            "rank_correlation_of_normals": self.normals,
            "auroc_float": self.auroc_float,
            "auroc_int8": self.auroc_int8,
        }


def quantise(
    recipe: Recipe, files: Sequence[PictureFile], *, seed: int, progress: Progress
) -> tuple[Recipe, Int8Graphs]:
    """The recipe in int8 and its graphs.

    Args:
        recipe: in float.
        files: of normals, all of which can be read.
        seed: of the pictures that calibrate, where there are many.
        progress: told how many graphs are made.

    Raises:
        QuantisationFailed: NNCF cannot quantise the graph.
        ConversionFailed: there is no float graph to begin with.
    """
    chosen = np.sort(np.random.default_rng(seed).permutation(len(files))[:CALIBRATION_PICTURES])
    made = {}
    in_float = converted_graphs(recipe, default_cache_dir())
    # One at a time is held as it was decoded: hundreds from a camera of 12 megapixels would take 10 GB.
    sized = {size: np.empty((len(chosen), size, size, 3), np.uint8) for size in in_float}
    for place, index in enumerate(chosen):
        picture = decode_as_stored(files[index].read())
        for size, pictures in sized.items():
            pictures[place] = resize(picture, size)
    for done, (size, graph) in enumerate(in_float.items()):
        progress("quantising", done, len(in_float))
        made[size] = _quantised(graph, sized[size])
    progress("quantising", len(in_float), len(in_float))
    graphs = Int8Graphs(made)
    return replace(recipe, precision="int8", graphs_sha256=graphs.sha256), graphs


def _quantised(graph: Path, pictures: NDArray[np.uint8]) -> Int8Graph:
    """In a process of its own: NNCF writes progress bars, warns, and would report to its vendor."""
    with tempfile.TemporaryDirectory(prefix="chipsieve-int8-") as folder:
        shown, written = Path(folder) / "pictures.npy", Path(folder) / "int8.xml"
        np.save(shown, pictures)
        program, files = "services.trainer.normality.int8_program", map(str, (graph, shown, written))
        try:
            why = own_process.run(program, *files, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired as late:
            raise QuantisationFailed(f"{graph} was not quantised within {TIMEOUT_S:.0f} s: {REMEDY}") from late
        if why:
            raise QuantisationFailed(f"{graph} could not be quantised: {why}; {REMEDY}")
        return Int8Graph(written.read_bytes(), written.with_suffix(".bin").read_bytes())
