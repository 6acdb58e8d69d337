"""What is normal, learnt from features: memory banks, and what distances held-out normals have."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from services.trainer.normality.cross_fit import LayerPatches, Remember, held_out_distances, remember_patches
from services.trainer.progress import Progress
from shared.events import FeatureGrid
from shared.vision.anomaly_map import smooth
from shared.vision.bank import LayerMemory
from shared.vision.calibration import LayerCalibration, PlaceSpread
from shared.vision.inspection import coarse_maps, layer_patches, picture_scores
from shared.vision.recipe import Recipe

# Share of its median that an anomaly map is lowered by: AU-PRO on tiles .738 instead of .721, on boards .803 instead of
# .792. More of it adds little there, and costs pixel AUROC.
MAP_LEVEL = 0.3
CHUNK = 32  # chips measured at once: bounds what is held as float32


@dataclass(frozen=True, slots=True)
class Normality:
    """Banks of all normals, calibrated on each of them held out once."""

    recipe: Recipe
    layers: tuple[LayerMemory, ...]
    calibrations: tuple[LayerCalibration, ...]
    scores: NDArray[np.float32]
    """(N,) held-out anomaly scores."""
    peaks: NDArray[np.float32]
    """(N,) largest values of the smoothed held-out maps."""

    @classmethod
    def learn(
        cls,
        grids_per_chip: Sequence[tuple[FeatureGrid, ...]],
        recipe: Recipe,
        fold_of: NDArray[np.intp],
        *,
        seed: int,
        progress: Progress,
        remember: Remember = remember_patches,
    ) -> "Normality":
        """From normals' features.

        Args:
            grids_per_chip: of N normals.
            recipe: which features, compared how.
            fold_of: (N,) fold in which each normal is held out.
            seed: of the coresets.
            progress: told how far the folds are.
            remember: what a layer keeps of normals; the one for recipes with learnt layers is
                `services.trainer.normality.drawn_patches.DrawnPatches.remember`.
        """
        patches = [LayerPatches.of(grids_per_chip, layer) for layer in recipe.layers]
        distances = held_out_distances(patches, recipe, fold_of, seed=seed, progress=progress, remember=remember)
        calibrations = tuple(
            LayerCalibration.of(of_layer, layer.top_fraction)
            for of_layer, layer in zip(distances, recipe.layers, strict=True)
        )
        everyone = np.ones(len(fold_of), np.bool_)
        return cls(
            recipe=recipe,
            layers=tuple(
                remember(layer, of_layer, everyone, seed)
                for of_layer, layer in zip(patches, recipe.layers, strict=True)
            ),
            calibrations=calibrations,
            scores=held_out_scores(distances, recipe, calibrations, fold_of),
            peaks=peaks_of(coarse_maps(distances, recipe, calibrations, MAP_LEVEL)),
        )

    def anomaly_scores(self, grids_per_chip: Sequence[tuple[FeatureGrid, ...]]) -> NDArray[np.float32]:
        """(N,) float32 anomaly scores of chips that no bank was made from."""
        scores = [np.empty(0, np.float32)]
        for start in range(0, len(grids_per_chip), CHUNK):
            chunk = grids_per_chip[start : start + CHUNK]
            distances = [
                bank.distances(layer_patches(chunk, layer), layer.metric)
                for bank, layer in zip(self.layers, self.recipe.layers, strict=True)
            ]
            scores.append(picture_scores(distances, self.recipe, self.calibrations))
        return np.concatenate(scores)


def held_out_scores(
    distances: Sequence[NDArray[np.float32]],
    recipe: Recipe,
    calibrations: Sequence[LayerCalibration],
    fold_of: NDArray[np.intp],
) -> NDArray[np.float32]:
    """(N,) float32 scores of held-out normals, each by what the others' distances say is usual at its places.

    By its own too, an odd picture would raise what is usual where it is odd, and score less than one that is yet to
    come: from twelve normals, thresholds were so low that more than twice as many good chips were rejected as promised.

    Args:
        distances: (N, h, w) a layer, held out.
        recipe: the layers.
        calibrations: of all N, one a layer.
        fold_of: (N,) fold in which each was held out.
    """
    scores = np.empty(len(fold_of), np.float32)
    for fold in np.unique(fold_of):
        held_out = fold_of == fold
        of_others = [
            replace(calibration, place=PlaceSpread.of(of_layer[~held_out]))
            for calibration, of_layer in zip(calibrations, distances, strict=True)
        ]
        scores[held_out] = picture_scores([of_layer[held_out] for of_layer in distances], recipe, of_others)
    return scores


def peaks_of(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N,) largest values of (N, h, w) coarse maps once they are smoothed."""
    return np.array([smooth(coarse).max() for coarse in maps], np.float32)
