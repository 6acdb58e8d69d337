"""From normal pictures to a bundle: features, memory banks, calibration."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.trainer.doubts.blank_frames import passing_blanks
from services.trainer.doubts.mixed_up import doubts
from services.trainer.doubts.odd_normals import odd_normals
from services.trainer.doubts.ungrouped_defects import ungrouped_defects
from services.trainer.known_defects.heads import Heads, learn_from_defects
from services.trainer.material.gathering import Material
from services.trainer.material.picture_features import Unreadable, look_at_all
from services.trainer.material.pictures import PictureFile, each_alone, groups_of_abnormals, kind_of, read_groups
from services.trainer.normality.cross_fit import split_into_folds
from services.trainer.normality.layers import MAP_LEVEL
from services.trainer.normality.learning import Learnt, learn, learn_in_int8
from services.trainer.product_name import refuse_unusable_name
from services.trainer.progress import Progress, silent
from services.trainer.promise.thresholds import (
    NOTHING_ASKED,
    Asked,
    HeldOut,
    Threshold,
    choose_mask_threshold,
    choose_threshold,
)
from services.trainer.recipe.search import search_recipe
from services.trainer.summary import left_out, on_held_out, promised
from services.trainer.upkeep.remembered import remember
from shared.bank.bundle import make_bundle
from shared.bank.bundle_folder import check_writable, write_bundle
from shared.bank.manifest import Manifest
from shared.vision.backbone_weights import backbone_weights_sha256
from shared.vision.bank import Bank
from shared.vision.calibration import Calibration
from shared.vision.engine import EngineKind
from shared.vision.engines.loading import load_engine
from shared.vision.engines.precision import best_precision, cpu_multiplies_int8
from shared.vision.errors import UnsupportedPrecision
from shared.vision.recipe import Precision, Recipe

TEACHES_LESS = "teach that there is a defect, but not where"
FEW_NORMALS = 20  # below it held-out scores say little about the next chip's: warned of


def train(
    *,
    product: str,
    normal: Path,
    out: Path,
    abnormal: Path | None = None,
    masks: Path | None = None,
    groups: Path | None = None,
    asked: Asked = NOTHING_ASKED,
    recipe: Recipe | None = None,
    precision: Precision | None = None,
    max_ms: float | None = None,
    engine: EngineKind = "openvino",
    seed: int = 0,
    progress: Progress = silent,
) -> Manifest:
    """Learn what is normal, and write a bundle.

    Args:
        product: the product's name.
        normal: folder of good pictures, walked recursively; all of them serve the bank and the calibration, but for
            copies: of files with the same bytes the first counts.
        out: the bundle's folder, written whole or not at all.
        abnormal: folder of defective pictures; a first-level subfolder names their kind of defect. Two supervised
            heads learn from them, and each joins the score where it helps on held-out ones.
        masks: folder that mirrors `abnormal`, with masks of what is defective: they teach where defects lie. Pictures
            without one teach that there is a defect.
        groups: CSV of ``file,group``: pictures of one group (one part, one batch) are held out together, and the
            promise rests on groups. Abnormal pictures may be named in it; those that are not stand for themselves.
        asked: what the threshold is to promise.
        recipe: which features, compared how; None searches for what works for these pictures.
        precision: what the engine computes in, now and on the line. None takes the given recipe's, and for one that is
            searched for the best that this machine has (`best_precision`). ``int8`` is tried after that, and taken
            only where scores stay (`services.trainer.normality.int8`).
        max_ms: bound on a picture's extraction on this machine, milliseconds, for the search.
        engine: what runs the backbone.
        seed: same seed and pictures, same bundle.
        progress: told how far each stage is.

    Returns:
        The bundle's manifest; ``training`` in it tells how it was made and warns of what is weak.

    Raises:
        UnusableProduct: the product cannot be called so.
        AmbiguousPictures: pictures are given as good and as defective.
        TrainingError: pictures or groups cannot be used as they are.
        PromiseRefused: what was asked for by name cannot be promised.
        NothingAffordable: no recipe keeps `max_ms`.
        UnsupportedPrecision: the engine or this CPU cannot compute in the precision asked for.
        NotABundle, UnwritableBundle: nothing can be written to `out`.
        VisionConfigurationError: the recipe cannot be computed.
    """
    refuse_unusable_name(product)
    check_writable(out.resolve())
    material = Material.gather(normal, abnormal, masks, groups, asked=asked, progress=progress)
    precision = precision or (recipe.precision if recipe else best_precision(engine))
    in_float = _in_float(precision, engine)
    search: dict[str, Any] | None = None
    if recipe is None:
        found = search_recipe(
            material.normals.files,
            groups=read_groups(groups, material.normals.files),
            abnormals=material.abnormals.files,
            max_ms=max_ms,
            engine=engine,
            precision=in_float,
            seed=seed,
            progress=progress,
        )
        recipe, search = found.recipe, found.report
    else:
        recipe = replace(recipe, precision=in_float, graphs_sha256=None)
    loaded = load_engine(engine, recipe)
    normals = look_at_all("good pictures", material.normals.files, recipe, loaded, progress)
    abnormals = look_at_all("defective pictures", material.abnormals.files, recipe, loaded, progress)
    normal_groups = read_groups(groups, normals.files)
    group_of = normal_groups or tuple(file.name for file in normals.files)
    fold_of = split_into_folds(group_of, seed=seed)
    learnt = learn(normals, abnormals, recipe, loaded, fold_of, seed=seed, progress=progress)
    graphs, int8_report = None, None
    if precision == "int8":
        learnt, graphs, int8_report = learn_in_int8(learnt, fold_of, seed=seed, progress=progress)
        normals, abnormals = learnt.normals, learnt.abnormals
    abnormal_groups = groups_of_abnormals(groups, abnormals.files, normals.files)
    heads = learn_from_defects(
        learnt,
        fold_of=fold_of,
        normal_groups=normal_groups,
        abnormal_groups=abnormal_groups,
        masks=material.masks.paths(abnormals.files),
        seed=seed,
        progress=progress,
    )
    held_out = HeldOut(heads.scores[: len(normals.files)], normal_groups)
    defects = HeldOut(heads.scores[len(normals.files) :], abnormal_groups)
    threshold = choose_threshold(held_out, defects, asked)
    bank = _bank(product, learnt, heads, threshold, groups=normal_groups, asked=asked)
    on_abnormals = on_held_out(held_out, defects, threshold.value)
    ungrouped = ungrouped_defects(groups, abnormals.files, abnormal_groups, what="the promise of escapes counts")
    summary = {
        "normals": len(normals.files),
        "abnormals": len(abnormals.files),
        "split": "grouped" if groups else "random",
        "groups": len(set(group_of)) if groups else None,
        "folds": int(fold_of.max()) + 1,
        "seed": seed,
        "recipe_search": search,
        "turned": learnt.turned,
        "int8": int8_report,
        **material.summary,
        "asked": asdict(asked),
        **promised(bank.calibration),
        "on_abnormals": on_abnormals,
        "head": heads.report,
        "warnings": [
            *threshold.warnings,
            *(ungrouped if threshold.escapes else ()),
            *material.warnings,
            *material.masks.warnings(abnormals.files, abnormals.sizes, missing=TEACHES_LESS, empty=TEACHES_LESS),
            *doubts(anomaly_auroc=learnt.anomaly_auroc, on_abnormals=on_abnormals),
            *passing_blanks(bank, learnt.engine, normals),
            *_warnings(normals.files, held_out.scores, material.unreadable, int8_report),
        ],
    }
    upkeep = remember(
        learnt.normality,
        normal_groups,
        held_out.scores,
        abnormals.grids,
        names=[file.name for file in abnormals.files],
        kinds=[kind_of(file) for file in abnormals.files],
        defect_groups=(abnormal_groups or each_alone(abnormals.files)) if normal_groups else None,
    )
    weights = backbone_weights_sha256(bank.recipe.backbone)
    bundle = make_bundle(bank, weights_sha256=weights, training=summary, upkeep=upkeep, graphs=graphs)
    write_bundle(out, bundle)
    return bundle.manifest


def _in_float(precision: Precision, engine: EngineKind) -> Precision:
    """What to learn in before int8 is tried, or the precision as it is.

    Raises:
        UnsupportedPrecision: the engine or this CPU cannot compute in int8.
    """
    if precision != "int8":
        return precision
    if engine != "openvino":
        raise UnsupportedPrecision(f"{engine} does not compute features in int8: train with --engine openvino")
    if not cpu_multiplies_int8():
        raise UnsupportedPrecision("this CPU has neither VNNI nor AMX for int8: train with --precision auto")
    return best_precision(engine)


def _bank(
    product: str,
    learnt: Learnt,
    heads: Heads,
    threshold: Threshold,
    *,
    groups: tuple[str, ...] | None,
    asked: Asked,
) -> Bank:
    normality, recipe = learnt.normality, learnt.recipe
    mask_threshold, mask_promise = choose_mask_threshold(HeldOut(normality.peaks, groups), asked)
    return Bank(
        product=product,
        version="",
        feature_space=recipe.feature_space(backbone_weights_sha256(recipe.backbone)),
        recipe=recipe,
        layers=normality.layers,
        calibration=Calibration(
            layers=normality.calibrations,
            promise=threshold.promise,
            mask_promise=mask_promise,
            map_level=MAP_LEVEL,
            escape_promise=threshold.escapes,
        ),
        threshold=threshold.value,
        mask_threshold=mask_threshold,
        head=heads.head,
        patch_head=heads.patch_head,
    )


def _warnings(
    normals: Sequence[PictureFile],
    scores: NDArray[np.float32],
    unreadable: Sequence[Unreadable],
    int8: dict[str, Any] | None,
) -> list[str]:
    """What a person should know before relying on the bundle."""
    warnings = []
    if int8 and not int8["taken"]:
        warnings.append(f"features stay in float, since in int8 {int8['refused_because']}")
    if len(normals) < FEW_NORMALS:
        warnings.append(
            f"{len(normals)} good pictures show little of what is normal: "
            f"give {FEW_NORMALS} at least, better some hundreds, or expect false rejects"
        )
    odd = odd_normals([file.name for file in normals], scores)
    if odd:
        warnings.append(
            f"{len(odd)} picture(s) given as good are unlike all others, foremost {odd[0]}: see whether they show good "
            "parts, and train without those that do not, since the threshold lies above them and defects may pass"
        )
    return [*warnings, *left_out(unreadable)]
