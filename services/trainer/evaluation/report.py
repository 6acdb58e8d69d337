"""One HTML page about a bundle on pictures whose truth is known: whole in itself, to be filed and printed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from services.trainer.errors import UnreadableFile
from services.trainer.evaluation.charts import curve, histogram, precision_recall, roc
from services.trainer.evaluation.judging import Inspected
from services.trainer.evaluation.metrics import Confusion
from services.trainer.evaluation.outputs import write_whole
from services.trainer.evaluation.overlays import overlaid, plain
from services.trainer.material.pictures import kind_of, read_mask
from shared.bank.manifest import Manifest
from shared.file_names import readable
from shared.vision.inspection import Inspection
from shared.vision.picture import decode
from shared.vision.promise import in_percent

PAGE = "index.html"
NO_INTERVAL = "none: too few pictures"
WORST = 8  # pictures shown of either kind of mistake
FIGURES = {
    "image_auroc": (
        "image AUROC",
        "the chance that a defective picture scores above a good one, whatever the threshold; 0.5 is guessing",
    ),
    "pixel_auroc": ("pixel AUROC", "the same of pixels, by the anomaly map"),
    "au_pro": (
        "AU-PRO",
        "the share of each defect's area that is found, on average while up to 30 % of good pixels are marked as well",
    ),
    "accuracy": ("accuracy", "right verdicts among all"),
    "precision": ("precision", "defective pictures among the rejected"),
    "recall": ("recall", "rejected pictures among the defective"),
    "f1": ("F1", "the harmonic mean of precision and recall"),
    "false_reject_rate": ("false-reject rate", "rejected pictures among the good"),
    "escape_rate": ("escape rate", "passed pictures among the defective"),
}
"""What each figure is called, and what it means."""
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
  overflow-wrap: anywhere }
h1 { font-size: 1.5rem; margin-bottom: .2rem } h2 { font-size: 1.1rem; margin-top: 2rem; border-bottom: 1px solid #ddd }
table { border-collapse: collapse } td, th { padding: .25rem .8rem .25rem 0; text-align: left; vertical-align: top }
th { overflow-wrap: normal }
td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
.note { color: #666 } .warn { color: #a33 }
.charts { display: flex; flex-wrap: wrap; gap: 1rem }
.charts figure { flex: 1 1 26rem; max-width: 34rem; margin: 0 } svg { width: 100% }
.worst { display: flex; flex-wrap: wrap; gap: 1rem } .worst figure { margin: 0; max-width: 18rem }
.worst img { display: block; max-width: 100% } figcaption { font-size: .85rem }
@media print {
  h2, .note { break-after: avoid } figure, table { break-inside: avoid } .worst figure { max-width: 10rem }
}
"""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """All that a report is made from."""

    manifest: Manifest
    figures: dict[str, Any]
    """As `evaluate` returns them."""
    normals: Inspected
    abnormals: Inspected
    masks: Sequence[Path | None]
    """Of each abnormal picture, where there is one."""
    places: dict[str, Path]
    """What lay where: the bundle, and the folders that were judged."""


def write_report(folder: Path, evaluated: Evaluated) -> None:
    """Write `folder`/index.html."""
    manifest, figures = evaluated.manifest, evaluated.figures
    normal, abnormal = evaluated.normals.scores, evaluated.abnormals.scores
    scores, defective = np.concatenate([normal, abnormal]), np.arange(len(normal) + len(abnormal)) >= len(normal)
    inspections = (*evaluated.normals.inspections, *evaluated.abnormals.inspections)
    rejected = np.array([each.rejected for each in inspections], np.bool_)
    title = f"{manifest.product}: evaluation of {manifest.version}"
    sections = [
        f"<h1>{escape(title)}</h1><p class=note>{datetime.now(UTC):%Y-%m-%d %H:%M} UTC</p>",
        _section("What was judged, and by what", _rows(_origin(evaluated)) + _split_note(evaluated)),
        _section("Figures", _figures(figures) + _warnings(figures)),
        _section(
            "Scores, threshold and promise", _threshold(evaluated, histogram(normal, abnormal, manifest.threshold))
        ),
    ]
    if len(abnormal) and len(normal):
        rate, recall, precision = (figures[name] for name in ("false_reject_rate", "recall", "precision"))
        dots = (rate, recall), (recall, precision) if precision is not None else None
        charts = (
            curve(roc(scores, defective), across="false-reject rate", up="recall", here=dots[0], chance=True),
            curve(precision_recall(scores, defective), across="recall", up="precision", here=dots[1]),
        )
        sections.append(
            _section(
                "ROC and precision-recall curves", _charts(charts) + _note("Red: the threshold; dashed: guessing.")
            )
        )
    sections += [
        _section("Verdicts against the truth", _confusion(Confusion.of(rejected, defective))),
        _section("Kinds of defect", _kinds(evaluated)),
        _section("Worst misses", _worst(evaluated, evaluated.abnormals, missed=True)),
        _section("Worst false rejects", _worst(evaluated, evaluated.normals, missed=False)),
    ]
    if unreadable := (*evaluated.normals.unreadable, *evaluated.abnormals.unreadable):
        rows = [(escape(each.name), escape(each.why)) for each in unreadable]
        sections.append(_section("Files that could not be inspected", _table(("file", "why"), rows, numbers=False)))
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(
        folder / PAGE,
        f'<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}</style>{''.join(sections)}</html>\n",
    )


def _origin(evaluated: Evaluated) -> dict[str, str]:
    manifest, figures = evaluated.manifest, evaluated.figures
    training: dict[str, Any] = dict(manifest.training)
    recipe = manifest.recipe
    layers = ", ".join(f"{layer.name} {layer.metric} top {in_percent(layer.top_fraction)}" for layer in recipe.layers)
    trained = f"{training.get('normals')} good and {training.get('abnormals', 0)} defective pictures"
    folds = training.get("folds")
    apart = f" in {folds} folds" if folds and "updated_from" not in training else ""
    held_out = (
        f", {training['groups']} groups held out whole{apart}" if training.get("groups") else f", held out{apart}"
    )
    masks = f"masks of {figures.get('masks')} defective pictures, and all good ones"
    speed = figures["images_per_second"]
    unreadable = len(figures["unreadable"])
    return {
        **{f"{what} read from": readable(str(place.absolute())) for what, place in evaluated.places.items()},
        "bundle": f"{manifest.product} {manifest.version}, made {manifest.created_at:%Y-%m-%d %H:%M} UTC",
        "recipe": f"{recipe.backbone} ({recipe.precision}): {layers}; feature space {manifest.feature_space}",
        "trained on": trained + held_out,
        "judged here": f"{figures['normal_images']} good and {figures['abnormal_images']} defective pictures"
        + (f"; {unreadable} files could not be inspected, the line would reject them" if unreadable else ""),
        "intervals by": f"group ({figures['groups']} groups of good ones)" if figures["groups"] else "picture",
        **({"figures over pixels by": masks} if figures.get("masks") is not None else {}),
        "judged by": f"Chipsieve {version('chipsieve')}",
        "time": f"{1000 / speed:.1f} ms a picture ({speed:.0f} a second): reading, decoding, features, matching"
        if speed
        else "-",
    }


def _split_note(evaluated: Evaluated) -> str:
    upkeep = evaluated.manifest.upkeep
    if evaluated.figures["groups"] and upkeep and upkeep.groups:
        return _note("Intervals draw whole groups. Groups of the names of those that were trained on are warned of.")
    if evaluated.figures["groups"]:
        return _note(
            "Intervals draw whole groups. The bundle knows no groups: whether some judged here were trained on cannot "
            "be told."
        )
    return _note(
        "No groups were given: if pictures of one part, batch or exposure series were both trained on and judged here, "
        "the figures flatter the bundle, and the intervals are too narrow."
    )


def _figures(figures: dict[str, Any]) -> str:
    rows, meanings = [], []
    for name, (label, meaning) in FIGURES.items():
        if figures[name] is None:
            continue
        ends = figures["ci95"].get(name)
        between = f"{ends[0]:.4f} to {ends[1]:.4f}" if ends else NO_INTERVAL
        rows.append((escape(label), f"{figures[name]:.4f}", between))
        meanings.append(f"<li>{escape(f'{label}: {meaning}')}</li>")
    intervals = _note(
        "Intervals of rates and F1 are exact binomial ones, with groups over as many independent pictures as theirs "
        "are worth; of the others over as many as vary so much when pictures are drawn again. Where that changes "
        "nothing, as with an image AUROC of 1, they hold what so many independent pictures can tell."
    )
    return _table(("figure", "value", "95 % interval"), rows) + intervals + f"<ul class=note>{''.join(meanings)}</ul>"


def _warnings(figures: dict[str, Any]) -> str:
    return "".join(f"<p class=warn>{escape(sentence)}.</p>" for sentence in figures["warnings"])


def _threshold(evaluated: Evaluated, chart: str) -> str:
    manifest, calibration = evaluated.manifest, evaluated.manifest.calibration
    promises = (calibration.promise, calibration.escape_promise, calibration.mask_promise)
    said = "".join(f"<li>{escape(str(promise))}</li>" for promise in promises if promise)
    rate = evaluated.figures["false_reject_rate"]
    measured = f"Here {rate:.3%} of the good pictures were rejected." if rate is not None else ""
    return (
        _charts([chart])
        + _note(
            "Blue: good pictures; red: defective ones, each as shares of their own number; dashed: the threshold. "
            "Scores beyond the axis are at its ends."
        )
        + f"<p>A picture is rejected above a score of {manifest.threshold:.4g}. Promised in training:</p>"
        + f"<ul>{said}</ul>"
        + f"<p>{measured}</p>"
        + "".join(
            f"<p class=warn>Not kept here: {escape(sentence)}.</p>" for sentence in evaluated.figures["broken_promises"]
        )
    )


def _confusion(confusion: Confusion) -> str:
    return _table(
        ("", "passed", "rejected"),
        [
            ("good", str(confusion.true_negatives), str(confusion.false_positives)),
            ("defective", str(confusion.false_negatives), str(confusion.true_positives)),
        ],
    )


def _kinds(evaluated: Evaluated) -> str:
    found: dict[str, list[Inspection]] = {}
    for file, inspection in zip(evaluated.abnormals.files, evaluated.abnormals.inspections, strict=True):
        found.setdefault(kind_of(file) or "no kind", []).append(inspection)
    rows = []
    for kind, inspections in sorted(found.items()):
        rejected = [each for each in inspections if each.rejected]
        named = sum(each.defect_kind == kind for each in rejected)
        known = evaluated.manifest.head is not None and kind in evaluated.manifest.head.kinds
        rows.append(
            (
                escape(kind),
                str(len(inspections)),
                f"{len(rejected) / len(inspections):.4f}",
                f"{named} of {len(rejected)}" if known else "-",
            )
        )
    if not rows:
        return _note("No defective pictures were judged.")
    return _table(("kind", "pictures", "recall", "named right"), rows)


def _worst(evaluated: Evaluated, inspected: Inspected, *, missed: bool) -> str:
    """The wrongly passed defects that scored lowest, or the wrongly rejected normals that scored highest."""
    wrong = [index for index, inspection in enumerate(inspected.inspections) if inspection.rejected is not missed]
    wrong.sort(key=lambda index: inspected.inspections[index].score * (1 if missed else -1))
    if not wrong:
        return _note("None.")
    figures = [_figure(evaluated, inspected, index, missed=missed) for index in wrong[:WORST]]
    note = f"{len(wrong)} in all; {len(figures)} shown, the farthest from the threshold first. "
    return _note(note + "Heat: the anomaly map; red: what was found; cyan: what is defective.") + (
        f"<div class=worst>{''.join(figures)}</div>"
    )


def _figure(evaluated: Evaluated, inspected: Inspected, index: int, *, missed: bool) -> str:
    file, inspection = inspected.files[index], inspected.inspections[index]
    caption = f"{escape(file.name)}<br>score {inspection.score:.4g}"
    try:
        picture = decode(file.read())
    except UnreadableFile as error:  # it could be a while ago
        return f"<figure><figcaption>{caption}<br>{escape(str(error))}</figcaption></figure>"
    height, width = inspected.sizes[index]
    mask = evaluated.masks[index] if missed else None
    truth = read_mask(mask, height, width) if mask else None
    threshold = evaluated.manifest.mask_threshold
    images = plain(picture), overlaid(picture, inspection, truth, threshold, 2 * abs(threshold))
    shown = "".join(f'<img src="{image}" alt="{what}">' for image, what in zip(images, ("picture", "map"), strict=True))
    return f"<figure>{shown}<figcaption>{caption}</figcaption></figure>"


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def _charts(charts: Iterable[str]) -> str:
    return f"<div class=charts>{''.join(f'<figure>{chart}</figure>' for chart in charts)}</div>"


def _note(text: str) -> str:
    return f"<p class=note>{escape(text)}</p>"


def _rows(rows: dict[str, str]) -> str:
    return (
        "<table>" + "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in rows.items()) + "</table>"
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: bool = True) -> str:
    """Cells are HTML already; `numbers` says that all but the first hold figures."""
    head = "".join(f"<th>{cell}</th>" for cell in header)
    cell_tag = "<td class=number>" if numbers else "<td>"
    body = "".join(f"<tr><td>{row[0]}</td>{''.join(f'{cell_tag}{cell}</td>' for cell in row[1:])}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
