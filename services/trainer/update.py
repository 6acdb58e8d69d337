"""Adding normals to a bundle, for instance confirmed false rejects, without the pictures that it was made from.

The banks take the new patches in and stay as small as they were; the standardisation stays, so that scores keep their
unit. The threshold is chosen anew from the held-out scores that the bundle remembers and those of the new normals. An
old normal's remembered score is, if anything, too high, as it was measured before the new ones were known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.trainer.doubts.strangers import refuse_strangers
from services.trainer.errors import CannotUpdate, NoPictures, PromiseRefused, SwallowsDefects, UnusableGroups
from services.trainer.evaluation.judging import refuse_if_stale
from services.trainer.known_defects.head import Refitted, describe_all, refit
from services.trainer.known_defects.patch_head import answers_to
from services.trainer.known_defects.remembered import anomaly_scores
from services.trainer.material.additions import Additions
from services.trainer.material.picture_features import Looked, Unreadable, look_at_all, sort_out
from services.trainer.material.pictures import find_pictures, read_groups
from services.trainer.normality.cross_fit import LayerPatches, held_out_distances, split_into_folds
from services.trainer.normality.layers import peaks_of
from services.trainer.progress import Progress, silent
from services.trainer.promise.thresholds import NOTHING_ASKED, Asked, HeldOut, choose_mask_threshold, choose_threshold
from services.trainer.summary import left_out, on_held_out, promised
from shared.bank.bundle import Bundle, make_bundle
from shared.bank.bundle_folder import check_writable, read_bundle, write_bundle
from shared.bank.manifest import Manifest
from shared.bank.upkeep import Upkeep
from shared.vision.backbone_weights import backbone_weights_sha256
from shared.vision.bank import Bank, LayerMemory
from shared.vision.engine import EngineKind
from shared.vision.engines.loading import load_engine
from shared.vision.inspection import coarse_maps, picture_scores
from shared.vision.memory_bank import MAX_CANDIDATES, MAX_VECTORS, LayerBank, build_layer_bank
from shared.vision.recipe import Layer

MAX_LOST = 0.02  # share of the known defects that may turn from rejected to passed; of fewer than 50, none may
NAMED = 5  # lost defects that the refusal names


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
        groups: CSV of ``file,group`` for the normals to add; needed where the bundle was calibrated by groups.
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
    was: dict[str, Any] = dict(before.manifest.training)
    upkeep = before.upkeep
    if upkeep is None:
        raise CannotUpdate(f"{bundle} remembers no held-out scores to calibrate with: train it again")
    if upkeep.groups and not groups:
        raise UnusableGroups(f"{bundle} was calibrated by groups: give --groups for the new pictures too")
    refuse_if_stale(before.bank, backbone_weights_sha256(before.bank.recipe.backbone))
    if not upkeep.figures.defects:
        asked.refuse_without_defects("the bundle knows none, so train again with --abnormal")
    asked = _asked(asked, was)
    _refuse_unknown_groups(bundle, upkeep, asked)
    files, unreadable = sort_out("reading pictures", found := find_pictures(normal), progress)
    if not files:
        raise NoPictures(f"not one of {len(found)} pictures in {normal} can be read: {unreadable[0].why}")
    additions = Additions.of(normal, files, was)
    if groups:
        read_groups(groups, additions.distinct.files)
    loaded = load_engine(engine, before.bank.recipe, graphs=before.graphs)
    added = look_at_all("normal pictures", additions.distinct.files, before.bank.recipe, loaded, progress)
    names = read_groups(groups, added.files) if groups else tuple(file.name for file in added.files)
    grown = _grow(before.bank, upkeep, added, names, seed=seed, progress=progress)
    normals = _joined_groups(upkeep, names if groups else None, grown.scores)
    defects = HeldOut(grown.defects, upkeep.figures.defect_groups)
    threshold = choose_threshold(normals, defects, asked)
    _refuse_to_swallow(before, upkeep, defects.scores, threshold.value)
    raised = refuse_strangers(before.bank, upkeep.scores, added, threshold.value)
    mask_threshold, mask_promise = choose_mask_threshold(HeldOut(grown.peaks, normals.groups), asked)
    bank = replace(
        before.bank,
        layers=grown.layers,
        head=grown.head.head if grown.head else None,
        threshold=threshold.value,
        mask_threshold=mask_threshold,
        calibration=replace(
            before.bank.calibration,
            promise=threshold.promise,
            mask_promise=mask_promise,
            escape_promise=threshold.escapes,
        ),
    )
    summary = was | {
        "asked": asdict(asked),
        "normals": len(grown.scores),
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
        "head": {"joined": bool(bank.head or bank.patch_head)} if upkeep.figures.defects else None,
        "warnings": [*threshold.warnings, *raised, *additions.warnings, *_warnings(upkeep, unreadable)],
    }
    result = make_bundle(
        bank,
        weights_sha256=before.manifest.weights_sha256,
        training=summary,
        upkeep=_remembered(upkeep, normals, grown),
        graphs=before.graphs,
    )
    write_bundle(out, result)
    return result.manifest


@dataclass(frozen=True, slots=True)
class _Grown:
    """Banks and head that know the new normals, and the held-out figures of old and new ones."""

    layers: tuple[LayerMemory, ...]
    head: Refitted | None
    scores: NDArray[np.float32]
    """(N + n,) of normals, the remembered ones first."""
    peaks: NDArray[np.float32]
    """(N + n,) likewise."""
    defects: NDArray[np.float32]
    """(A,) of the known defects."""
    folds: int
    """In which the new normals were held out."""


def _grow(bank: Bank, upkeep: Upkeep, added: Looked, names: Sequence[str], *, seed: int, progress: Progress) -> _Grown:
    recipe, calibrations = bank.recipe, bank.calibration.layers
    patches = [LayerPatches.of(added.grids, layer) for layer in recipe.layers]
    # A single group cannot be held out from its own: it is then measured by the bank as it was, which is stricter.
    fold_of = split_into_folds(names, seed=seed) if len(set(names)) > 1 else np.zeros(len(names), np.intp)
    old = dict(zip(recipe.layers, bank.layers, strict=True))

    def remember(layer: Layer, of_layer: LayerPatches, chosen: NDArray[np.bool_], seed: int) -> LayerMemory:
        return _grown_bank(old[layer], of_layer, chosen, layer, seed)

    distances = held_out_distances(patches, recipe, fold_of, seed=seed, progress=progress, remember=remember)
    everyone = np.ones(len(names), np.bool_)
    layers = tuple(
        remember(layer, of_layer, everyone, seed) for of_layer, layer in zip(patches, recipe.layers, strict=True)
    )
    scores = picture_scores(distances, recipe, calibrations)
    defects = anomaly_scores(upkeep, layers, recipe, calibrations)
    head = None
    if bank.head:
        head = refit(bank.head, len(upkeep.figures.defects), describe_all(added.grids, recipe), names, seed=seed)
        scores = scores + bank.head.scores(head.normals[:, None])
        defects = defects + bank.head.scores(head.defects[:, None])
    if bank.patch_head:  # it stays as it was taught: the pictures of defects are not there to teach it again
        scores = scores + bank.patch_head.scores(answers_to(added.grids, recipe, bank.patch_head))
        defects = defects + bank.patch_head.scores(bank.patch_head.known)
    return _Grown(
        layers=layers,
        head=head,
        scores=np.concatenate([upkeep.scores, scores]),
        peaks=np.concatenate(
            [upkeep.peaks, peaks_of(coarse_maps(distances, recipe, calibrations, bank.calibration.map_level))]
        ),
        defects=defects,
        folds=int(fold_of.max()) + 1,
    )


def _grown_bank(
    old: LayerMemory, patches: LayerPatches, chosen: NDArray[np.bool_], layer: Layer, seed: int
) -> LayerMemory:
    """The bank of what was remembered and the chosen pictures, no larger than a fresh one.

    A network stays as it was taught, and so does what is usual at each place: the pictures that taught them are not
    there.
    """
    if not isinstance(old, LayerBank):
        return old
    values = patches.values[chosen].reshape(-1, patches.values.shape[-1])
    scales = patches.scales[chosen].reshape(-1)
    room = MAX_CANDIDATES - len(old.values)
    if len(values) > room:  # of the new patches; what is remembered stays a candidate
        kept = np.sort(np.random.default_rng(seed).choice(len(values), room, replace=False))
        values, scales = values[kept], scales[kept]
    return build_layer_bank(
        np.concatenate([old.values, values]),
        np.concatenate([old.scales, scales]),
        layer.metric,
        max_vectors=max(MAX_VECTORS, len(old.values)),
        seed=seed,
    )


def _joined_groups(upkeep: Upkeep, names: Sequence[str] | None, scores: NDArray[np.float32]) -> HeldOut:
    """Old and new normals; a new group of an old one's name is the same group."""
    if names is None:
        return HeldOut(scores, None)
    known = upkeep.groups or tuple(f"normal {index} before" for index in range(len(upkeep.scores)))
    return HeldOut(scores, (*known, *names))


def _asked(asked: Asked, was: Mapping[str, Any]) -> Asked:
    """What a bundle was asked to keep it keeps, where nothing else is asked for by name."""
    if asked.names_anything:
        return asked
    before = Asked(**was.get("asked", {}))
    return replace(before, best_effort=asked.best_effort or before.best_effort)


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


def _refuse_to_swallow(before: Bundle, upkeep: Upkeep, after: NDArray[np.float32], threshold: float) -> None:
    bank = before.bank
    scores = anomaly_scores(upkeep, bank.layers, bank.recipe, bank.calibration.layers)
    if bank.head:
        nothing = np.empty((0, len(bank.head.centre)), np.float32)
        scores = scores + bank.head.scores(refit(bank.head, len(scores), nothing, ()).defects[:, None])
    if bank.patch_head:
        scores = scores + bank.patch_head.scores(bank.patch_head.known)
    lost = np.flatnonzero((scores > bank.threshold) & (after <= threshold))
    if len(lost) <= MAX_LOST * len(scores):
        return
    names = [upkeep.figures.defects[index] for index in lost[:NAMED]]
    raise SwallowsDefects(
        f"{len(lost)} of {len(scores)} known defects that are rejected now would pass after the update, for instance "
        f"{', '.join(names)}: look at the new pictures for defective ones, or train again from all pictures"
    )


def _remembered(upkeep: Upkeep, normals: HeldOut, grown: _Grown) -> Upkeep:
    groups = sorted(set(normals.groups)) if normals.groups else None
    group_of = np.searchsorted(groups, normals.groups) if groups and normals.groups else np.zeros(len(grown.scores))
    figures = replace(upkeep.figures, groups=tuple(groups) if groups else None)
    if groups and not upkeep.figures.groups:  # the first groups: until now each defect stood for itself
        figures = replace(figures, defect_groups=tuple(f"file {name}" for name in figures.defects))
    return Upkeep(
        figures,
        grown.scores,
        grown.peaks,
        group_of.astype(np.int32),
        upkeep.layers,
    )


def _warnings(upkeep: Upkeep, unreadable: Sequence[Unreadable]) -> list[str]:
    warnings = []
    if not upkeep.figures.defects:
        warnings.append(
            "the bundle knows no defects, so that nothing guards it from normals that are none: evaluate it on "
            "defective pictures, or train with --abnormal"
        )
    return [*warnings, *left_out(unreadable)]
