"""`chipsieve ablate`: the paper's study on any folders of good and defective pictures."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from services.cli.options import Json
from services.cli.progress import bars
from shared.file_names import printable

if TYPE_CHECKING:
    from services.trainer.evaluation.ablation.report import Report

TABLE_WIDTH = 170  # columns of the whole table: narrower, figures would break

MOST_MINUTES = 7 * 24 * 60
MOST_SEED = 2**31 - 1  # scikit-learn and Keras take 32 bits, and a split adds its number

NAMED = 3  # files that could not be read

messages = Console(stderr=True, highlight=False)


def ablate(
    *,
    normal: Annotated[list[Path], typer.Option(help="Folder of good pictures, walked recursively; may be repeated.")],
    abnormal: Annotated[Path, typer.Option(help="Folder of defective pictures; subfolders name the kind of defect.")],
    out: Annotated[Path, typer.Option(help="Folder for report, results and features; a study that is there goes on.")],
    groups: Annotated[
        Path | None,
        typer.Option(
            help="CSV of file,group for the good pictures: adds splits that keep groups whole. Defective pictures that "
            "it does not name join the group of the good one whose number is next to theirs, unless folders are "
            "numbered each by itself."
        ),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Row, pattern or family (classical, detector, deep); may be repeated.")
    ] = None,
    skip: Annotated[list[str] | None, typer.Option(help="The same, to leave out.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Some of the pictures, tiny networks: five minutes instead of an hour.")
    ] = False,
    splits: Annotated[int | None, typer.Option(min=1, help="Splits of each kind; 3, or 2 with --quick.")] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0.1, max=MOST_MINUTES, help="Time after which networks stop training; 55, or 4.5 with --quick."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Of splits and of all that is drawn.")] = 0,
    as_json: Json = False,
) -> None:
    """Compare classifiers, networks and detectors on pictures whose truth is known.

    Writes ablation.html, .csv, .json and the plots to --out. An interrupted study goes on where it stopped.
    """
    from services.trainer.evaluation.ablation.files import (  # noqa: PLC0415 - needs scikit-learn
        PAGE,
        refuse_another,
        write_files,
    )
    from services.trainer.evaluation.ablation.study import ablate as study  # noqa: PLC0415 - needs scikit-learn

    refuse_another(out, normal, abnormal)
    with bars(messages) as progress:
        report = study(
            normal=normal,
            abnormal=abnormal,
            out=out,
            groups=groups,
            only=only or (),
            skip=skip or (),
            quick=quick,
            splits=splits,
            minutes=minutes,
            seed=seed,
            progress=progress,
        )
    try:
        write_files(report, out)
    finally:  # what cannot be written is shown all the same
        _show(report, as_json=as_json)
    messages.print(f"written to {escape(str(out / PAGE))}, beside it CSV, JSON and plots", soft_wrap=True)


def _show(report: "Report", *, as_json: bool) -> None:
    from services.trainer.evaluation.ablation.files import document  # noqa: PLC0415 - needs scikit-learn

    for warning in report.warnings:
        messages.print(f"[yellow]warning:[/yellow] {escape(printable(warning))}", soft_wrap=True)
    for each in report.unreadable[:NAMED]:
        messages.print(
            f"[yellow]warning:[/yellow] {escape(printable(f'{each.name} could not be read: {each.why}'))}",
            soft_wrap=True,
        )
    if len(report.unreadable) > NAMED:
        messages.print(f"[yellow]warning:[/yellow] {len(report.unreadable)} files could not be read in all")
    if as_json:
        typer.echo(json.dumps(document(report)))
        return
    _print(report)


def _print(report: "Report") -> None:
    from services.trainer.evaluation.ablation.explained import about  # noqa: PLC0415 - needs scikit-learn

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=TABLE_WIDTH)
    is_whole = console.width >= TABLE_WIDTH
    console.print(_table(report, is_whole=is_whole))
    if not is_whole:
        console.print("Standard deviations, parameters and times: in a wider terminal, or on the page.")
    for line in report.lines:
        if line.row.family == "deep":
            console.print(f"{line.row.title}, {line.kind}: {line.note}", markup=False)
    for said in about(report):
        console.print(printable(said), markup=False)


def _table(report: "Report", *, is_whole: bool) -> Table:
    """All figures; or, for a narrow terminal, means alone."""
    from services.trainer.evaluation.ablation.results import MEASURES  # noqa: PLC0415 - needs scikit-learn
    from services.trainer.evaluation.ablation.table import HEADINGS, cells, paper_cells  # noqa: PLC0415 - needs scikit-learn

    table = Table() if is_whole else Table(box=None, padding=(0, 2, 0, 0))
    shown = HEADINGS[:-1] if is_whole else HEADINGS[: 2 + len(MEASURES)]  # notes are too long for a cell: they follow
    for heading in shown:
        is_text = heading in {"row", "split"}
        table.add_column(heading, justify="left" if is_text else "right", no_wrap=is_whole and not is_text)

    def of(texts: Sequence[str]) -> list[str]:
        return [text if is_whole else text.partition(" ±")[0] for text in texts[: len(shown)]]

    for line in report.lines:
        table.add_row(*of(cells(line)))
    table.add_section()
    table.add_row(*of(paper_cells()), style="italic")
    return table
