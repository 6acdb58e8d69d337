"""The study's files: JSON, CSV, plots, and the page; each is written whatever becomes of the others."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from services.trainer.errors import UnwritableOutput
from services.trainer.evaluation.ablation.explained import about, definitions
from services.trainer.evaluation.ablation.page import page
from services.trainer.evaluation.ablation.plots import measure_plot, time_plot
from services.trainer.evaluation.ablation.report import Report, legible
from services.trainer.evaluation.ablation.results import MEASURES
from services.trainer.evaluation.ablation.table import PAPER
from services.trainer.evaluation.outputs import write_whole

PAGE, DOCUMENT = "ablation.html", "ablation.json"


def document(report: Report) -> dict[str, Any]:
    """The report as plain JSON."""
    first, last = report.measured
    return {
        "rows": [line.to_json() for line in report.lines],
        "paper": PAPER,
        "normal_images": report.good,
        "abnormal_images": report.defective,
        "groups": report.groups,
        "unreadable": [each.name for each in report.unreadable],
        "seed": report.seed,
        "quick": report.quick,
        "normal_folders": [legible(folder.absolute()) for folder in report.normal],
        "abnormal_folder": legible(report.abnormal.absolute()),
        "groups_file": legible(report.groups_file.absolute()) if report.groups_file else None,
        "abnormal_images_by_kind": {legible(kind): count for kind, count in report.kinds.items()},
        "images_found": report.found,
        "copies_left_out": report.left_out.copies,
        "why_unreadable": [f"{each.name}: {each.why}" for each in report.unreadable],
        "splits": report.splits,
        "minutes_for_networks": report.minutes,
        "measured": {"first": first, "last": last},
        **report.origin.to_json(),
        "explanations": [*about(report), *definitions(report)],
    }


def refuse_another(out: Path, normal: Sequence[Path], abnormal: Path) -> None:
    """Raise where `out` has the report of a study of other folders, which this one's would replace.

    Raises:
        UnwritableOutput: naming the folders.
    """
    try:
        known = json.loads((out / DOCUMENT).read_text(encoding="utf-8"))
        before = [*known["normal_folders"], known["abnormal_folder"]]
    except (OSError, ValueError, TypeError, KeyError):  # none that could be lost
        return
    if {Path(name).resolve() for name in before} != {Path(legible(name)).resolve() for name in (*normal, abnormal)}:
        raise UnwritableOutput(
            f"{out} has the report of a study of {', '.join(before)}: name another --out, or remove its {DOCUMENT} "
            "where that may be replaced"
        )


def write_files(report: Report, out: Path) -> None:
    """Write `DOCUMENT`, ``ablation.csv``, `PAGE` and the plots.

    Raises:
        UnwritableOutput: some could not be written: which, and why. All others are.
    """
    failures: dict[str, Exception] = {}

    def attempt(name: str, make: Callable[[], str]) -> str:
        """What was made, and is written unless the system refuses; nothing where it could not be made."""
        text = ""
        try:
            text = make()
            write_whole(out / name, text)
        except Exception as error:  # one file that fails must not cost the others; told once all were tried
            failures[name] = error
        return text

    attempt(DOCUMENT, lambda: json.dumps(document(report), indent=1))
    attempt("ablation.csv", partial(_csv, report))
    plots = [
        attempt("auroc.svg", partial(measure_plot, report.lines, "auroc", "AUROC")),
        attempt("f1.svg", partial(measure_plot, report.lines, "f1", "F1")),
        attempt("time.svg", lambda: time_plot(report.lines, report.lines[-1].kind)),  # grouped where there are both
    ]
    attempt(PAGE, partial(page, report, plots))
    if failures:
        said = "; ".join(
            f"{name}: {error.strerror if isinstance(error, OSError) and error.strerror else repr(error)}"
            for name, error in failures.items()
        )
        raise UnwritableOutput(
            f"not all of the study could be written to {out} ({said}). What was measured is kept: mend that and run "
            "the study again"
        ) from next(iter(failures.values()))


def _csv(report: Report) -> str:
    measures = (*MEASURES, "ms_per_image")
    text = io.StringIO()
    writer = csv.writer(text)
    columns = [f"{measure}_{part}" for measure in measures for part in ("mean", "sd")]
    writer.writerow(["row", "family", "split", "splits", *columns, "parameters", "note"])
    for line in report.lines:
        figures = [f(measure) for measure in measures for f in (line.mean, line.deviation)]
        shown = ["" if each is None else f"{each:.6g}" for each in figures]
        fixed = [line.row.name, line.row.family, line.kind, len(line.results)]
        writer.writerow([*fixed, *shown, round(line.mean("parameters")), line.note])
    paper = [figure for measure in measures for figure in (PAPER.get(measure, ""), "")]
    writer.writerow(["paper", "", "", "", *paper, "", f"{PAPER['title']}, doi {PAPER['doi']}"])
    return text.getvalue()
