"""Adding normals to a bundle, for instance confirmed false rejects, without the pictures that it was made from.

The banks take the new patches in and stay as small as they were; the standardisation stays, so that scores keep their
unit. The threshold is chosen anew from the held-out scores that the bundle remembers and those of the new normals. An
old normal's remembered score is, if anything, too high, as it was measured before the new ones were known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.trainer.doubts.blank_frames import passing_blanks
from services.trainer.errors import CannotUpdate, PromiseRefused, UnusableGroups
from services.trainer.evaluation.judging import refuse_if_stale
from services.trainer.material.picture_features import Unreadable, look_at_all, sort_out
from services.trainer.material.pictures import find_pictures, read_groups
from services.trainer.progress import Progress, silent
from services.trainer.promise.thresholds import (
    NOTHING_ASKED,
    Asked,
    HeldOut,
    Threshold,
    choose_mask_threshold,
    choose_threshold,
)
from services.trainer.summary import left_out, on_held_out, promised
from services.trainer.upkeep.additions import Additions
from services.trainer.upkeep.growing import Grown, grow
from services.trainer.upkeep.known_groups import Counted
from services.trainer.upkeep.remembered import numbered
from services.trainer.upkeep.strangers import refuse_strangers
from services.trainer.upkeep.swallowing import known_scores, refuse_to_swallow
from shared.bank.bundle import Bundle, make_bundle
from shared.bank.bundle_folder import check_writable, read_bundle, write_bundle
from shared.bank.manifest import Manifest
from shared.bank.upkeep import Upkeep
from shared.vision.backbone_weights import backbone_weights_sha256
from shared.vision.bank import Bank
from shared.vision.engine import EngineKind
from shared.vision.engines.loading import load_engine


def update(
    *,
    bundle: Path,
    normal: Path,
    out: Path,
    groups: Path | None = None,
    asked: Asked = NOTHING_ASKED,
    engine: EngineKind = "openvino",
    seed: int = 0,
    progress: Progress = silent,
) -> Manifest:
    """Add normals to a bundle, choose its threshold anew, and write the result as a new bundle.

    Args:
        bundle: folder of the bundle.
        normal: folder of the normals to add, walked recursively; copies, and pictures that the bundle has learnt from,
            are left out.
        out: the new bundle's folder, written whole or not at all; may be `bundle`.
        groups: CSV of ``file,group`` for the normals to add; needed where the bundle was calibrated by groups. Pictures
            of groups that it knows are learnt, and no promise rests on them.
        asked: what the threshold is to promise; where nothing is asked for by name, what the bundle was asked for.
        engine: what runs the backbone.
        seed: same seed, bundle and pictures, same result.
        progress: told how far each stage is.

    Raises:
        CannotUpdate: the bundle remembers no scores to calibrate with, or has learnt from all these pictures already.
        AmbiguousPictures: some of the pictures are defects that the bundle has learnt from.
        StrangePictures: the pictures are too unlike those that the bundle remembers, and the threshold would rise far.
        SwallowsDefects: known defects would pass afterwards that are rejected now.
        PromiseRefused: what was asked for by name cannot be promised.
        NotABundle, UnwritableBundle: nothing can be written to `out`.
        TrainingError: pictures or groups cannot be used as they are.
        NotABundle, CorruptBundle: the bundle cannot be used.
    """
    check_writable(out.resolve())
    before = read_bundle(bundle)
    upkeep = _usable_upkeep(bundle, before, groups)
    was: dict[str, Any] = dict(before.manifest.training)
    if not upkeep.figures.defects:
        asked.refuse_without_defects("the bundle knows none, so train again with --abnormal")
    lapsed = _lapsed(asked, was)
    asked = _asked(asked, was)
    _refuse_unknown_groups(bundle, upkeep, asked)
    distinct, unreadable = sort_out("reading pictures", normal, find_pictures(normal), progress)
    additions = Additions.of(normal, distinct, was)
    read_groups(groups, additions.distinct.files)  # refuses a table that does not fit, before the long work
    loaded = load_engine(engine, before.bank.recipe, graphs=before.graphs)
    added = look_at_all("good pictures", additions.distinct.files, before.bank.recipe, loaded, progress)
    new_groups = read_groups(groups, added.files)
    names = new_groups or tuple(file.name for file in added.files)
    grown = grow(before.bank, upkeep, added, names, seed=seed, progress=progress)
    counted = Counted.of(upkeep, new_groups, len(names))
    normals = counted.held_out(grown.scores)
    defects = HeldOut(grown.defects, upkeep.figures.defect_groups)
    # Of thresholds that are as good, one that the guard below would refuse must not be taken.
    rejected = known_scores(before.bank, upkeep) > before.bank.threshold
    threshold = choose_threshold(normals, defects, asked, rejected=rejected)
    passes = defects.scores <= threshold.value
    lost = refuse_to_swallow(upkeep.figures.defects, rejected, passes, was.get("lost_defects", ()))
    called_for = threshold
    if not counted.all:  # odd pictures give themselves away by the threshold that they would call for if they counted
        called_for = choose_threshold(counted.everyone(grown.scores), defects, replace(asked, best_effort=True))
    raised = refuse_strangers(before.bank, upkeep.scores, added, called_for.value, counted=counted.all)
    bank = _bank(before.bank, grown, threshold, counted.held_out(grown.peaks), asked)
    summary = was | {
        "asked": asdict(asked),
        "normals": was.get("normals", len(upkeep.scores)) + len(added.files),
        "split": "grouped" if normals.groups else "random",
        "groups": len(set(normals.groups)) if normals.groups else None,
        "updated_from": before.manifest.version,
        "added": len(added.files),
        "unreadable": [each.name for each in unreadable],
        "copies": len(additions.distinct.copies),
        "known": len(additions.known),
        "digests": additions.digests,
        "folds": grown.folds,
        "seed": seed,
        **promised(bank.calibration),
        "on_abnormals": on_held_out(normals, defects, threshold.value),
        "lost_defects": lost.names,
        "head": {"joined": _joined(bank)} if upkeep.figures.defects else None,
        "warnings": [
            *threshold.warnings,
            *lapsed,
            *raised,
            *lost.warnings,
            *additions.warnings,
            *counted.warnings([file.name for file in added.files]),
            *passing_blanks(bank, loaded, added),
            *_warnings(upkeep, unreadable),
        ],
    }
    result = make_bundle(
        bank,
        weights_sha256=before.manifest.weights_sha256,
        training=summary,
        upkeep=_remembered(upkeep, normals, counted.held_out(grown.peaks).scores),
        graphs=before.graphs,
    )
    write_bundle(out, result)
    return result.manifest


def _usable_upkeep(folder: Path, bundle: Bundle, groups: Path | None) -> Upkeep:
    """What a bundle remembers, if that and this version's features allow to add to it."""
    if bundle.upkeep is None:
        raise CannotUpdate(f"{folder} remembers no held-out scores to calibrate with: train it again")
    if bundle.upkeep.groups and not groups:
        raise UnusableGroups(f"{folder} was calibrated by groups: give --groups for the new pictures too")
    refuse_if_stale(bundle.bank, backbone_weights_sha256(bundle.bank.recipe.backbone))
    return bundle.upkeep


def _bank(before: Bank, grown: Grown, threshold: Threshold, peaks: HeldOut, asked: Asked) -> Bank:
    """The bank that was, with all that has grown or was chosen anew."""
    mask_threshold, mask_promise = choose_mask_threshold(peaks, asked)
    return replace(
        before,
        layers=grown.layers,
        head=grown.head.head if grown.head else None,
        threshold=threshold.value,
        mask_threshold=mask_threshold,
        calibration=replace(
            before.calibration,
            promise=threshold.promise,
            mask_promise=mask_promise,
            escape_promise=threshold.escapes,
        ),
    )


def _joined(bank: Bank) -> bool:
    """Whether what defects taught adds to the score; a head without weight names their kinds and no more."""
    return any(head.figures.weight > 0 for head in (bank.head, bank.patch_head) if head)


def _asked(asked: Asked, was: Mapping[str, Any]) -> Asked:
    """What a bundle was asked to keep it keeps, where nothing else is asked for by name."""
    if asked.names_anything:
        return asked
    before = Asked(**was.get("asked", {}))
    return replace(before, best_effort=asked.best_effort or before.best_effort)


def _lapsed(asked: Asked, was: Mapping[str, Any]) -> list[str]:
    """A warning where something else is asked for by name than what a bundle was asked to keep."""
    before = Asked(**was.get("asked", {}))
    if not asked.names_anything:
        return []
    options = [
        f"--{name.replace('_', '-')} {getattr(before, name):g}"
        for name in ("false_reject_rate", "confidence", "max_escape_rate")
        if getattr(before, name) is not None and getattr(asked, name) is None
    ]
    if not options:
        return []
    return [f"the bundle kept {', '.join(options)}, and is held to it no more: name that too where it is to be kept"]


def _refuse_unknown_groups(bundle: Path, upkeep: Upkeep, asked: Asked) -> None:
    """Defects of one part that count as many would promise what a few parts cannot."""
    figures = upkeep.figures
    if asked.max_escape_rate is None or figures.groups is None or figures.defect_groups is not None:
        return
    raise PromiseRefused(
        f"{bundle} was calibrated by groups and does not remember those of its defects, so that no limit on escapes "
        f"(--max-escape-rate {asked.max_escape_rate:g}) can be promised: train again with --abnormal and --groups, or "
        "name what else is to be kept, for instance --false-reject-rate"
    )


def _remembered(upkeep: Upkeep, normals: HeldOut, peaks: NDArray[np.float32]) -> Upkeep:
    groups, group_of = numbered(normals.groups, len(normals.scores))
    figures = replace(upkeep.figures, groups=groups)
    if groups and not upkeep.figures.groups:  # the first groups: until now each defect stood for itself
        figures = replace(figures, defect_groups=tuple(f"file {name}" for name in figures.defects))
    return Upkeep(figures, normals.scores, peaks, group_of, upkeep.layers)


def _warnings(upkeep: Upkeep, unreadable: Sequence[Unreadable]) -> list[str]:
    warnings = []
    if not upkeep.figures.defects:
        warnings.append(
            "the bundle knows no defects, so that nothing guards it from good pictures that are none: evaluate it "
            "on defective pictures, or train with --abnormal"
        )
    return [*warnings, *left_out(unreadable)]
