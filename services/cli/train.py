"""`chipsieve train` and `chipsieve evaluate`: from pictures to a bundle, and how good it is."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from services.cli.options import BundleFolder, Json, NormalPictures
from services.cli.precision import PrecisionChoice
from services.cli.progress import bars
from shared.file_names import printable


class EngineChoice(StrEnum):
    """What runs the backbone."""

    OPENVINO = "openvino"
    TENSORFLOW = "tensorflow"


EngineOption = Annotated[EngineChoice, typer.Option("--engine", help="OpenVINO on CPUs, TensorFlow on GPUs.")]

PrecisionOption = Annotated[
    PrecisionChoice,
    typer.Option(
        "--precision",
        help="Of the features, here and on the line. auto: the recipe's, or bf16 where the CPU is faster in it, else "
        "f32. int8 is less work on the line and twice the training; it is taken only where scores stay.",
    ),
]

KNOWN_OTHERWISE = {"unreadable", "recipe", "ci95", "broken_promises", "warnings"}
"""What the table of an evaluation leaves out."""

COUNTS = {
    "images": "pictures",
    "normal_images": "good pictures",
    "abnormal_images": "defective pictures",
    "images_per_second": "pictures a second",
    "promised_false_reject_rate": "promised false-reject rate",
}
"""What the table calls them, beside `services.trainer.evaluation.report.FIGURES`."""

NO_INTERVAL = "no interval: too few pictures"
MASKS = (
    "Folder of masks that mirrors --abnormal: the mask of crack/7.jpg is crack/7.png or crack/7_mask.png, and what is "
    "not black in it is defective."
)

messages = Console(stderr=True, highlight=False)


def train(
    *,
    normal: NormalPictures,
    out: Annotated[Path, typer.Option(help="Folder to write the bundle to; a bundle that is there is replaced.")],
    product: Annotated[str | None, typer.Option(help="Name of the product; needed unless --update names one.")] = None,
    update: Annotated[
        Path | None, typer.Option(help="Bundle to add the good pictures to, for instance confirmed false rejects.")
    ] = None,
    abnormal: Annotated[
        Path | None,
        typer.Option(help="Folder of defective pictures to learn from; subfolders name the kind of defect."),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(help=f"{MASKS} They are not needed, but help much."),
    ] = None,
    false_reject_rate: Annotated[
        float | None,
        typer.Option(
            min=0.0001,
            max=0.5,
            help="Share of good chips that may be rejected; no bundle is made where the pictures cannot promise it. "
            "By default 0.01 is tried for or, with --abnormal, the threshold with the best F1 on held-out pictures.",
        ),
    ] = None,
    confidence: Annotated[
        float | None,
        typer.Option(
            min=0.5, max=0.9999, help="Of the rates that are promised; kept or refused like these. By default 0.95."
        ),
    ] = None,
    max_escape_rate: Annotated[
        float | None,
        typer.Option(min=0.0001, max=0.9, help="Share of defective chips that may pass; kept or refused likewise."),
    ] = None,
    best_effort: Annotated[
        bool, typer.Option("--best-effort", help="Promise what the pictures can carry, where that is less than asked.")
    ] = False,
    groups: Annotated[
        Path | None,
        typer.Option(
            help="CSV with the columns file,group: pictures of one group, as a part or a day, are held out together."
        ),
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="JSON of a recipe to use, as in a bundle's manifest; else one is searched for.")
    ] = None,
    max_ms: Annotated[
        float | None,
        typer.Option(
            min=1,
            help="Milliseconds that the backbone may take for a picture on this machine, as a bound on the search.",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Of all that is drawn: the same seed and pictures give the same bundle.")
    ] = 0,
    engine: EngineOption = EngineChoice.OPENVINO,
    precision: PrecisionOption = PrecisionChoice.AUTO,
    as_json: Json = False,
) -> None:
    """Learn from good pictures what is normal, and write a bundle to publish."""
    from services.trainer.promise.thresholds import Asked  # noqa: PLC0415 - the other commands need no arithmetic
    from services.trainer.recipe.file import read_recipe  # noqa: PLC0415 - the other commands need no arithmetic
    from services.trainer.train import train as learn  # noqa: PLC0415 - the other commands need no arithmetic
    from services.trainer.update import update as add  # noqa: PLC0415 - the other commands need no arithmetic
    from shared.vision.engines.precision import best_precision  # noqa: PLC0415 - the other commands need no arithmetic

    if recipe and max_ms:
        raise typer.BadParameter("--max-ms bounds the search for a recipe, and --recipe gives one: keep one of them")
    asked = Asked(
        false_reject_rate=false_reject_rate,
        confidence=confidence,
        max_escape_rate=max_escape_rate,
        best_effort=best_effort,
    )
    with bars(messages) as progress:
        common: dict[str, Any] = {
            "normal": normal,
            "out": out,
            "groups": groups,
            "asked": asked,
            "engine": engine.value,
            "seed": seed,
            "progress": progress,
        }
        if update:
            if product is not None or abnormal or masks or recipe or max_ms or precision is not PrecisionChoice.AUTO:
                raise typer.BadParameter(
                    "an update keeps product, recipe, precision and defects of the bundle: give --normal and --out, "
                    "and train without --update to change more"
                )
            manifest = add(bundle=update, **common)
        elif product is None:
            raise typer.BadParameter("give --product, or --update with a bundle to add to")
        else:
            manifest = learn(
                product=product,
                abnormal=abnormal,
                masks=masks,
                recipe=read_recipe(recipe, best_precision(engine.value)) if recipe else None,
                precision=precision.asked,
                max_ms=max_ms,
                **common,
            )
    summary: dict[str, Any] = dict(manifest.training)
    if summary["recipe_search"] and not update:
        _print_search(summary["recipe_search"])
    for warning in summary["warnings"]:
        _warn(warning)
    if as_json:
        typer.echo(manifest.to_json())
        return
    _print_table(
        f"{manifest.product} {manifest.version}",
        {
            "bundle": str(out),
            "good pictures": summary["normals"],
            "turned copies": _turns(summary.get("turned")),
            "threshold": manifest.threshold,
            "promise": summary["promise"],
            "mask promise": summary["mask_promise"],
            "escape promise": summary["escape_promise"],
            **{f"{name} held out": figure for name, figure in (summary["on_abnormals"] or {}).items()},
            "from defects": _from_defects(summary["head"]),
        },
    )


def evaluate(
    *,
    bundle: BundleFolder,
    normal: NormalPictures,
    abnormal: Annotated[
        Path | None, typer.Option(help="Folder of defective pictures; subfolders name the kind of defect.")
    ] = None,
    masks: Annotated[Path | None, typer.Option(help=f"{MASKS} Without them no pixel is compared.")] = None,
    groups: Annotated[
        Path | None, typer.Option(help="CSV with the columns file,group: intervals are taken over groups.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Folder to write a page to that needs no network: figures, curves, worst cases.")
    ] = None,
    scores: Annotated[
        Path | None,
        typer.Option(help="File to write each picture's score and verdict to, without copies: .csv or .jsonl."),
    ] = None,
    engine: EngineOption = EngineChoice.OPENVINO,
    as_json: Json = False,
) -> None:
    """Judge pictures whose truth is known; positive means defective."""
    from services.trainer.evaluation.evaluate import evaluate as judge  # noqa: PLC0415 - the other commands need no arithmetic
    from services.trainer.evaluation.report import FIGURES  # noqa: PLC0415 - the other commands need no arithmetic

    with bars(messages) as progress:
        figures = judge(
            bundle=bundle,
            normal=normal,
            abnormal=abnormal,
            masks=masks,
            groups=groups,
            scores=scores,
            report=report,
            engine=engine.value,
            progress=progress,
        )
    for sentence in (*figures["warnings"], *figures["broken_promises"]):
        _warn(sentence)
    if report:
        typer.echo(f"report: {report / 'index.html'}", err=True)
    if as_json:
        typer.echo(json.dumps(figures))
        return
    shown = {name: figure for name, figure in figures.items() if name not in KNOWN_OTHERWISE}
    for name, ends in figures["ci95"].items():
        if figures[name] is not None:
            between = f"{ends[0]:.4f} to {ends[1]:.4f}" if ends else NO_INTERVAL
            shown[name] = f"{figures[name]:.4f}  ({between})"
    shown["confidence"] = f"{figures['confidence']:g}"
    if figures["images_per_second"] is not None:
        shown["images_per_second"] = f"{figures['images_per_second']:.1f}"
    called = {name: label for name, (label, _) in FIGURES.items()} | COUNTS
    shown = {called.get(name, name): figure for name, figure in shown.items()}
    if figures["unreadable"]:
        shown["not inspected"] = f"{len(figures['unreadable'])}: in no figure, the line would reject them"
    _print_table(str(bundle), shown)


def _warn(sentence: str) -> None:
    """One line in a file; a terminal breaks it where words end."""
    messages.print(Text.assemble(("warning:", "yellow"), f" {printable(sentence)}"), soft_wrap=not messages.is_terminal)


def _print_search(report: dict[str, Any]) -> None:
    """What was tried, on standard error; the weight is what a layer has in the score, none where it is left out."""
    has_real = bool(report["abnormals"])
    auroc = "AUROC, on real ones too" if has_real else "AUROC"
    table = Table(
        "layer",
        auroc,
        *(["on real ones alone"] if has_real else []),
        "weight in the score",
        title="what was tried, on defects drawn into the good pictures",
    )
    for row in report["tried"]:
        real = [_cell(row["auroc_on_real"])] if has_real else []
        weight = "given up" if row["given_up"] else f"{row['weight']:.2f}" if row["weight"] else ""
        table.add_row(Text(row["candidate"]), _cell(row["auroc"]), *real, weight)
    messages.print(table)


def _turns(report: list[dict[str, Any]] | None) -> str:
    """Which copies of the normals joined the banks."""
    return ", ".join(each["turn"] for each in report or () if each["taken"]) or "none"


def _from_defects(report: dict[str, Any] | None) -> str | None:
    """What pictures of defects have taught, in words."""
    if report is None:
        return None
    if "why" in report:
        return str(report["why"])
    said = "joined the score" if report["joined"] else "adds nothing to the score"
    if report["joined"] and "auroc_joined" in report:  # an update tells no more than that
        said += f": AUROC {report['auroc_joined']:.4f} instead of {report['auroc_normals_only']:.4f}"
    whole = report.get("by_whole_pictures", {})
    if whole.get("kinds_right") is not None:
        said += f"; held out, {whole['kinds_right']:.0%} are called by the right one of {len(whole['kinds'])} kinds"
    return said


def _print_table(title: str, rows: dict[str, Any]) -> None:
    table = Table("", Column(overflow="fold"), title=Text(printable(title), "table.title"), show_header=False)
    for name, value in rows.items():
        table.add_row(name.replace("_", " "), _cell(value))
    Console(highlight=False).print(table)


def _cell(value: object) -> Text:
    """As it stands: what people call products, kinds and files is no markup."""
    return Text(printable(_in_words(value)))


def _in_words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_in_words(part)}" for name, part in value.items()) or "-"
    if isinstance(value, float):
        return f"{value:.4f}"
    return "-" if value is None else str(value)
