"""From normal pictures to a bundle: features, memory banks, calibration."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.trainer.cross_fit import LayerPatches, held_out_distances, split_into_folds
from services.trainer.errors import NoPictures
from services.trainer.evaluation.metrics import Confusion, auroc
from services.trainer.judging import Inspected, inspect_files
from services.trainer.picture_features import Unreadable, look_at_all
from services.trainer.pictures import find_pictures, read_groups
from services.trainer.progress import Progress, silent
from shared.bank.bundle import make_bundle, write_bundle
from shared.bank.manifest import Manifest
from shared.events import FeatureGrid
from shared.vision.anomaly_map import smooth
from shared.vision.backbone_weights import backbone_weights_sha256
from shared.vision.bank import Bank
from shared.vision.calibration import Calibration, LayerCalibration, promised_threshold
from shared.vision.engine import EngineKind
from shared.vision.engines.loading import load_engine
from shared.vision.inspection import coarse_maps, picture_scores
from shared.vision.recipe import DEFAULT_RECIPE, Recipe

FEW_NORMALS = 20  # below it held-out scores say little about the next chip's: warned of
MASKED_NORMALS = 0.05  # share of held-out normals that show any mask: rejects show theirs, good chips rarely one


def train(
    *,
    product: str,
    normal: Path,
    out: Path,
    abnormal: Path | None = None,
    groups: Path | None = None,
    false_reject_rate: float = 0.01,
    recipe: Recipe = DEFAULT_RECIPE,
    engine: EngineKind = "openvino",
    seed: int = 0,
    progress: Progress = silent,
) -> Manifest:
    """Learn what is normal, and write a bundle.

    Args:
        product: the product's name.
        normal: folder of good pictures, walked recursively; all of them serve the bank and the calibration.
        out: the bundle's folder, written whole or not at all.
        abnormal: folder of defective pictures. They move no threshold: what they score is reported with the bundle.
        groups: CSV of ``file,group``: pictures of one group (one part, one batch) are held out together.
        false_reject_rate: share of normal chips that may be rejected, to be promised.
        recipe: which features, compared how.
        engine: what runs the backbone.
        seed: same seed and pictures, same bundle.
        progress: told how far each stage is.

    Returns:
        The bundle's manifest; ``training`` in it tells how it was made and warns of what is weak.

    Raises:
        TrainingError: pictures or groups cannot be used as they are.
        NotABundle: `out` holds something else.
        VisionConfigurationError: the recipe cannot be computed.
    """
    normal_files = find_pictures(normal)
    abnormal_files = find_pictures(abnormal) if abnormal else ()
    if groups:
        read_groups(groups, normal_files)  # a table that does not fit is refused before the long work
    weights = backbone_weights_sha256(recipe.backbone)
    loaded = load_engine(engine, recipe)
    normals = look_at_all("normal pictures", normal_files, recipe, loaded, progress)
    if not normals.files:
        raise NoPictures(
            f"not one of {len(normal_files)} pictures in {normal} can be read: {normals.unreadable[0].why}"
        )
    group_of = read_groups(groups, normals.files) if groups else tuple(file.name for file in normals.files)
    fold_of = split_into_folds(group_of, seed=seed)
    bank, held_out_scores = fit(
        normals.grids,
        product=product,
        recipe=recipe,
        feature_space=recipe.feature_space(weights),
        fold_of=fold_of,
        false_reject_rate=false_reject_rate,
        seed=seed,
        progress=progress,
    )
    abnormals = inspect_files("abnormal pictures", abnormal_files, bank, loaded, progress)
    unreadable = (*normals.unreadable, *abnormals.unreadable)
    summary = {
        "normals": len(normals.files),
        "abnormals": len(abnormals.files),
        "split": "grouped" if groups else "random",
        "groups": len(set(group_of)) if groups else None,
        "folds": int(fold_of.max()) + 1,
        "seed": seed,
        "unreadable": [each.name for each in unreadable],
        "promise": str(bank.calibration.promise),
        "on_abnormals": _on_abnormals(abnormals, bank, held_out_scores) if abnormals.files else None,
        "warnings": _warnings(bank, len(normals.files), unreadable, is_grouped=groups is not None),
    }
    bundle = make_bundle(bank, weights_sha256=weights, training=summary)
    write_bundle(out, bundle)
    return bundle.manifest


def fit(
    grids_per_chip: Sequence[tuple[FeatureGrid, ...]],
    *,
    product: str,
    recipe: Recipe,
    feature_space: str,
    fold_of: NDArray[np.intp],
    false_reject_rate: float,
    seed: int,
    progress: Progress = silent,
) -> tuple[Bank, NDArray[np.float32]]:
    """The bank of all normals, calibrated on each of them held out once; and their held-out scores (N,).

    Args:
        grids_per_chip: the normals' features.
        product: for the bank.
        recipe: for the bank.
        feature_space: for the bank.
        fold_of: (N,) fold of each normal.
        false_reject_rate: to be promised.
        seed: of the coresets.
        progress: told how far the folds are.
    """
    patches = [LayerPatches.of(grids_per_chip, layer) for layer in recipe.layers]
    distances = held_out_distances(patches, recipe, fold_of, seed=seed, progress=progress)
    calibrations = tuple(
        LayerCalibration.of(of_layer, layer.top_fraction)
        for of_layer, layer in zip(distances, recipe.layers, strict=True)
    )
    scores = picture_scores(distances, recipe, calibrations)
    threshold, promise = promised_threshold(scores, false_reject_rate)
    everyone = np.ones(len(fold_of), np.bool_)
    bank = Bank(
        product=product,
        version="",
        feature_space=feature_space,
        recipe=recipe,
        layers=tuple(
            of_layer.bank(everyone, layer, seed) for of_layer, layer in zip(patches, recipe.layers, strict=True)
        ),
        calibration=Calibration(layers=calibrations, promise=promise),
        threshold=threshold,
        mask_threshold=_mask_threshold(coarse_maps(distances, calibrations)),
    )
    return bank, scores


def _mask_threshold(maps: NDArray[np.float32]) -> float:
    return float(np.quantile([smooth(coarse).max() for coarse in maps], 1 - MASKED_NORMALS))


def _on_abnormals(abnormals: Inspected, bank: Bank, held_out_scores: NDArray[np.float32]) -> dict[str, float | None]:
    """How the abnormals fare against the normals' held-out scores."""
    scores = np.concatenate([held_out_scores, abnormals.scores])
    defective = np.arange(len(scores)) >= len(held_out_scores)
    confusion = Confusion.of(scores > bank.threshold, defective)
    return {"image_auroc": auroc(scores, defective), "escape_rate": confusion.escape_rate}


def _warnings(bank: Bank, normals: int, unreadable: Sequence[Unreadable], *, is_grouped: bool) -> list[str]:
    """What a person should know before relying on the bundle."""
    warnings = []
    if not bank.calibration.promise.kept:
        warnings.append(str(bank.calibration.promise))
    if normals < FEW_NORMALS:
        warnings.append(
            f"{normals} normal pictures show little of what is normal: "
            f"give {FEW_NORMALS} at least, better some hundreds, or expect false rejects"
        )
    if is_grouped:
        warnings.append(
            "the promised rate counts every normal picture as a witness of its own; pictures of one group are alike, "
            "so that it is surer for chips of these groups than for those of new ones"
        )
    if unreadable:
        first = unreadable[0]
        warnings.append(f"{len(unreadable)} files were left out, for instance {first.name}: {first.why}")
    return warnings
