"""How good a bundle is on pictures whose truth is known."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.trainer.doubts.mixed_up import swapped
from services.trainer.doubts.ungrouped_defects import ungrouped_defects
from services.trainer.errors import NoPictures, TrainingError
from services.trainer.evaluation.bootstrap import PixelSample, picture_intervals, resample
from services.trainer.evaluation.judging import Inspected, inspect_files, refuse_if_stale
from services.trainer.evaluation.metrics import Confusion, PixelFigures, auroc
from services.trainer.evaluation.outputs import refuse_file, refuse_folder, told, write_whole
from services.trainer.evaluation.promises import broken_promises
from services.trainer.evaluation.report import Evaluated, write_report
from services.trainer.evaluation.truth import KnownTruth, doubts_of_groups
from services.trainer.material.masks import Masks, refuse_masks_alone
from services.trainer.material.picture_features import Unreadable
from services.trainer.material.pictures import (
    each_alone,
    groups_of_abnormals,
    kind_of,
    read_groups,
    read_mask,
)
from services.trainer.progress import Progress, silent
from shared.bank.bundle_folder import read_bundle
from shared.events import Verdict
from shared.vision.anomaly_map import upsample
from shared.vision.backbone_weights import backbone_weights_sha256
from shared.vision.bank import Bank
from shared.vision.engine import EngineKind
from shared.vision.engines.loading import load_engine

PIXEL_FIGURES = ("pixel_auroc", "au_pro")
NAMED = 3  # files that could not be inspected, with what is wrong with each


def evaluate(
    *,
    bundle: Path,
    normal: Path,
    abnormal: Path | None = None,
    masks: Path | None = None,
    groups: Path | None = None,
    scores: Path | None = None,
    report: Path | None = None,
    engine: EngineKind = "openvino",
    progress: Progress = silent,
) -> dict[str, Any]:
    """Judge pictures as the line would, and compare with the truth. Positive means defective.

    Args:
        bundle: folder of the bundle.
        normal: folder of good pictures, walked recursively. Of files with the same bytes the first counts.
        abnormal: folder of defective pictures; a first-level subfolder names their kind of defect.
        masks: folder that mirrors `abnormal`, with masks of what is defective. A normal picture's mask is empty, and a
            defective picture without a mask counts in no pixel figure.
        groups: CSV of ``file,group``: intervals are taken over groups. Abnormal pictures may be named in it too.
        scores: file to write each counted picture's score and verdict to, ``.csv`` or ``.jsonl``.
        report: folder to write ``index.html`` to, one page that needs no network.
        engine: what runs the backbone.
        progress: told how far each stage is.

    Returns:
        Plain JSON; a figure that is not defined, for want of defective pictures or masks, is None. ``threshold`` is the
        bundle's, as are recipe, promise and confidence. ``ci95`` has an interval a figure, over pictures or
        over groups (`services.trainer.evaluation.binomial`); it is None where pictures are too few to tell.
        ``broken_promises`` has a sentence for each rate that was promised and is exceeded here, ``warnings`` one for
        each other doubt.
        ``unreadable`` names the files that could not be inspected; they count in no figure.
        ``images_per_second`` counts reading, decoding, extracting and matching.

    Raises:
        NoPictures: not one picture of a folder can be read.
        AmbiguousPictures: pictures are given as good and as defective.
        UnwritableOutput: scores or report cannot be written where they are to go.
        TrainingError: the folders cannot be used as they are.
        NotABundle, CorruptBundle: the bundle cannot be used.
    """
    read = read_bundle(bundle)
    bank = read.bank
    truth = KnownTruth.find(normal, abnormal, read.manifest.training)
    normal_files, abnormal_files = truth.normals, truth.abnormals
    if not abnormal_files:
        refuse_masks_alone(masks)
    found_masks = Masks.find(masks, abnormal_files)
    if scores and scores.suffix not in SCORE_FORMATS:
        raise TrainingError(f"scores are written as {' or '.join(SCORE_FORMATS)}, not to {scores}: choose such a name")
    read_groups(groups, normal_files)  # refuses a table that does not fit, before the long work
    if scores:
        refuse_file("scores", scores)
    if report:
        refuse_folder("report", report)
    refuse_if_stale(bank, backbone_weights_sha256(bank.recipe.backbone))
    loaded = load_engine(engine, bank.recipe, graphs=read.graphs)
    normals = inspect_files("good pictures", normal_files, bank, loaded, progress)
    _refuse_nothing(normals, normal)
    abnormals = inspect_files("defective pictures", abnormal_files, bank, loaded, progress)
    if abnormal:
        _refuse_nothing(abnormals, abnormal)
    if scores:
        with told("scores", scores):
            rows = [*_rows("normal", normals), *_rows("abnormal", abnormals)]
            write_whole(scores, SCORE_FORMATS[scores.suffix](rows))
    normal_groups = read_groups(groups, normals.files)
    abnormal_groups = groups_of_abnormals(groups, abnormals.files, normals.files)
    draws = resample(len(normals.files), len(abnormals.files), normal_groups, abnormal_groups)
    alone = each_alone(normals.files), each_alone(abnormals.files)
    units = (*(normal_groups or alone[0]), *(abnormal_groups or alone[1])) if groups else None
    figures, intervals = _picture_figures(normals, abnormals, bank, draws, units)
    truths = found_masks.paths(abnormals.files)
    pixel_figures, pixel_intervals = (
        _pixel_figures(normals, abnormals, truths, draws, groups=units, progress=progress)
        if masks
        else (dict.fromkeys(PIXEL_FIGURES), dict.fromkeys(PIXEL_FIGURES))
    )
    figures |= pixel_figures | {"groups": len(set(normal_groups)) if normal_groups else None}
    figures["ci95"] = intervals | pixel_intervals
    figures["broken_promises"] = broken_promises(bank.calibration, figures)
    figures["warnings"] = [
        *swapped(figures["image_auroc"]),
        *truth.warnings,
        *ungrouped_defects(groups, abnormals.files, abnormal_groups, what="intervals count"),
        *doubts_of_groups(normal_groups, read.manifest.upkeep.groups if read.manifest.upkeep else None),
        *_warnings((*normals.unreadable, *abnormals.unreadable)),
        *found_masks.warnings(
            abnormals.files,
            abnormals.sizes,
            missing="count in no figure over pixels",
            empty="count in figures over pixels as if they were good",
        ),
    ]
    if report:
        places = {"bundle": bundle, "good pictures": normal, "defective pictures": abnormal, "masks": masks}
        used = {what: place for what, place in places.items() if place}
        progress("writing the report", 0, 1)
        with told("report", report):
            write_report(report, Evaluated(read.manifest, figures, normals, abnormals, truths, used))
        progress("writing the report", 1, 1)
    return figures


def _refuse_nothing(inspected: Inspected, folder: Path) -> None:
    if not inspected.files:
        first = inspected.unreadable[0]
        raise NoPictures(
            f"not one of {len(inspected.unreadable)} pictures in {folder} can be read, {first.name} for instance: "
            f"{first.why}"
        )


def _warnings(unreadable: Sequence[Unreadable]) -> list[str]:
    if not unreadable:
        return []
    named = "; ".join(f"{each.name}: {each.why}" for each in unreadable[:NAMED])
    more = f"; and {len(unreadable) - NAMED} more" if len(unreadable) > NAMED else ""
    told = f"{len(unreadable)} files could not be inspected and count in no figure, the line would reject them"
    return [f"{told}: {named}{more}"]


def _picture_figures(
    normals: Inspected, abnormals: Inspected, bank: Bank, draws: NDArray[np.intp], groups: Sequence[str] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Figures over pictures, and their intervals."""
    scores = np.concatenate([normals.scores, abnormals.scores])
    defective = np.arange(len(scores)) >= len(normals.files)
    rejected = np.array([each.rejected for each in (*normals.inspections, *abnormals.inspections)], np.bool_)
    confusion = Confusion.of(rejected, defective)
    seconds = normals.seconds + abnormals.seconds
    figures = {
        "image_auroc": auroc(scores, defective),
        "accuracy": confusion.accuracy,
        "precision": confusion.precision,
        "recall": confusion.recall,
        "f1": confusion.f1,
        "false_reject_rate": confusion.false_reject_rate,
        "escape_rate": confusion.escape_rate,
        "threshold": bank.threshold,
        "recipe": bank.recipe.to_json(),
        "promised_false_reject_rate": bank.calibration.promise.promised_rate,
        "confidence": bank.calibration.promise.confidence,
        "images": len(scores),
        "normal_images": len(normals.files),
        "abnormal_images": len(abnormals.files),
        "recall_by_kind": _recall_by_kind(abnormals),
        "kinds_named_right": _kinds_named_right(abnormals, bank),
        "images_per_second": len(scores) / seconds if seconds else None,
        "unreadable": [each.name for each in (*normals.unreadable, *abnormals.unreadable)],
    }
    return figures, picture_intervals(scores, rejected, defective, draws, groups=groups)


def _recall_by_kind(abnormals: Inspected) -> dict[str, float]:
    """Share of each kind of defect that is rejected; a picture right in the abnormal folder is of no kind."""
    found: dict[str, list[bool]] = {}
    for file, inspection in zip(abnormals.files, abnormals.inspections, strict=True):
        if kind := kind_of(file):
            found.setdefault(kind, []).append(inspection.rejected)
    return {kind: sum(rejected) / len(rejected) for kind, rejected in sorted(found.items())}


def _kinds_named_right(abnormals: Inspected, bank: Bank) -> float | None:
    """Share of the rejected defects of kinds that the bundle knows whose kind it names right."""
    known = bank.head.figures.kinds if bank.head else ()
    named = [
        inspection.defect_kind == kind_of(file)
        for file, inspection in zip(abnormals.files, abnormals.inspections, strict=True)
        if inspection.rejected and kind_of(file) in known
    ]
    return sum(named) / len(named) if named else None


def _pixel_figures(
    normals: Inspected,
    abnormals: Inspected,
    masks: Sequence[Path | None],
    draws: NDArray[np.intp],
    *,
    groups: Sequence[str] | None,
    progress: Progress,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Figures over pixels, and their intervals; a defective picture without a mask counts in none."""
    inspections, sizes = (*normals.inspections, *abnormals.inspections), (*normals.sizes, *abnormals.sizes)
    truths = [*[None] * len(normals.files), *masks]
    known = [index for index, mask in enumerate(truths) if index < len(normals.files) or mask is not None]
    maps = [inspections[index].anomaly_map for index in known]
    lowest = min(float(coarse.min()) for coarse in maps)
    highest = max(float(coarse.max()) for coarse in maps)
    figures, sample = PixelFigures(lowest, highest), PixelSample(lowest, highest)
    for done, index in enumerate(known, start=1):
        height, width = sizes[index]
        pixels, mask = upsample(inspections[index].anomaly_map, height, width), truths[index]
        truth = read_mask(mask, height, width) if mask else None
        figures.add(pixels, truth)
        sample.add(pixels, truth)
        progress("comparing pixels", done, len(known))
    return (
        {
            "pixel_auroc": figures.auroc(),
            "au_pro": figures.au_pro(),
            "masks": sum(path is not None for path in masks),
        },
        sample.intervals(draws[:, known], groups=[groups[index] for index in known] if groups else None),
    )


def _rows(truth: str, inspected: Inspected) -> Iterator[dict[str, Any]]:
    for file, inspection in zip(inspected.files, inspected.inspections, strict=True):
        verdict = Verdict.REJECT if inspection.rejected else Verdict.PASS
        yield {"file": file.name, "truth": truth, "score": inspection.score, "verdict": verdict.value}
    for each in inspected.unreadable:
        yield {"file": each.name, "truth": truth, "score": None, "verdict": Verdict.UNINSPECTED.value}


def _as_csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["file", "truth", "score", "verdict"])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _as_json_lines(rows: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


SCORE_FORMATS = {".csv": _as_csv, ".jsonl": _as_json_lines}
