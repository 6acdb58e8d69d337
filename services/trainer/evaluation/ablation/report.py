"""The study's table and plots: CSV, JSON, SVG, and one HTML page that needs nothing besides itself."""

import csv
import json
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from services.trainer.evaluation.ablation.plots import measure_plot, time_plot
from services.trainer.evaluation.ablation.results import MEASURES, Line

PAPER = {
    "title": "Ullah et al. 2024, on their own private pictures",
    "doi": "10.1093/jcde/qwae019",
    "accuracy": 0.985,
    "precision": 0.972,
    "recall": 0.980,
}
"""What the paper reports of its best model. The pictures are not public: the figures stand beside, not in the race."""

HEADINGS = ("row", "split", *MEASURES, "parameters", "ms/image", "note")

_STYLE = """
body { font: 15px/1.5 sans-serif; color: #222; max-width: 1180px; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap }
th:first-child, td:first-child, td.note { text-align: left }
td.note { white-space: normal; color: #555 }
tr.paper td { border-top: 2px solid #222; font-style: italic }
h2 { margin-top: 2.5rem } svg { max-width: 100%; height: auto }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that the study found."""

    lines: tuple[Line, ...]
    good: int
    defective: int
    groups: int | None
    unreadable: tuple[str, ...]
    seed: int
    quick: bool

    @property
    def about(self) -> tuple[str, ...]:
        """What a reader must know to read the table, a sentence each."""
        kinds = " and as many ".join(dict.fromkeys(line.kind for line in self.lines))
        splits = f"{len(self.lines[0].results)} {kinds}"
        networks = (
            "Networks train until their share of the time is over: the note says at what picture size and for how many "
            "epochs, and whether from ImageNet's weights or from scratch."
        )
        grouped = (
            f"A grouped split keeps each of {self.groups} groups on one side; defective pictures without a group join "
            "that of the good picture whose number is next to theirs."
        )
        said = (
            f"{self.good} good and {self.defective} defective pictures; positive means defective.",
            f"Mean ± standard deviation over {splits} splits, a fifth of the pictures tested, seed {self.seed}.",
            "A random split parts pictures of one part that was taken several times, and flatters who remembers it.",
            grouped if self.groups else "",
            "Detectors and Chipsieve learn from good pictures alone; all other rows from both.",
            networks,
            "ms/image: one picture at a time, decoded; features by OpenVINO on one thread, networks by TensorFlow.",
            "A quick run on some of the pictures: it shows that all works, not what is best." if self.quick else "",
            f"{len(self.unreadable)} files could not be read: {', '.join(self.unreadable[:3])}."
            * bool(self.unreadable),
        )
        return tuple(each for each in said if each)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "rows": [line.to_json() for line in self.lines],
            "paper": PAPER,
            "normal_images": self.good,
            "abnormal_images": self.defective,
            "groups": self.groups,
            "unreadable": list(self.unreadable),
            "seed": self.seed,
            "quick": self.quick,
        }


def cells(line: Line) -> tuple[str, ...]:
    """A line of the table as text, by `HEADINGS`."""
    return (
        line.row.title,
        line.kind,
        *(f"{line.mean(measure):.3f} ± {line.deviation(measure):.3f}" for measure in MEASURES),
        f"{line.mean('parameters') / 1e6:.2f} M",
        f"{line.mean('ms_per_image'):.1f} ± {line.deviation('ms_per_image'):.1f}",
        line.note,
    )


def paper_cells() -> tuple[str, ...]:
    """The paper's own figures as a line of the table."""
    figures = (f"{PAPER[measure]:.3f}" if measure in PAPER else "" for measure in MEASURES)
    return (str(PAPER["title"]), "", *figures, "", "", f"doi {PAPER['doi']}")


def write_report(report: Report, out: Path) -> None:
    """Write ``ablation.csv``, ``ablation.json``, ``ablation.html`` and the plots."""
    plots = {
        "auroc": measure_plot(report.lines, "auroc", "AUROC"),
        "f1": measure_plot(report.lines, "f1", "F1"),
        "time": time_plot(report.lines, report.lines[-1].kind),  # grouped where there are both
    }
    for name, plot in plots.items():
        (out / f"{name}.svg").write_text(plot, encoding="utf-8")
    (out / "ablation.json").write_text(json.dumps(report.to_json(), indent=1), encoding="utf-8")
    _write_csv(report, out / "ablation.csv")
    (out / "ablation.html").write_text(_page(report, list(plots.values())), encoding="utf-8")


def _write_csv(report: Report, path: Path) -> None:
    measures = (*MEASURES, "ms_per_image")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        columns = [f"{measure}_{part}" for measure in measures for part in ("mean", "sd")]
        writer.writerow(["row", "family", "split", "splits", *columns, "parameters", "note"])
        for line in report.lines:
            figures = [f(measure) for measure in measures for f in (line.mean, line.deviation)]
            fixed = [line.row.name, line.row.family, line.kind, len(line.results)]
            writer.writerow([*fixed, *(f"{each:.6g}" for each in figures), round(line.mean("parameters")), line.note])
        paper = [figure for measure in measures for figure in (PAPER.get(measure, ""), "")]
        writer.writerow(["paper", "", "", "", *paper, "", f"{PAPER['title']}, doi {PAPER['doi']}"])


def _page(report: Report, plots: list[str]) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in HEADINGS)
    body = "".join(_row(cells(line)) for line in report.lines) + _row(paper_cells(), "paper")
    about = "".join(f"<li>{escape(said)}</li>" for said in report.about)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Ablation study</title>'
        f"<style>{_STYLE}</style></head><body><h1>Ablation study</h1><ul>{about}</ul>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        f"<h2>Plots</h2>{''.join(plots)}</body></html>"
    )


def _row(texts: tuple[str, ...], kind: str = "") -> str:
    *figures, note = texts
    inner = "".join(f"<td>{escape(text)}</td>" for text in figures) + f'<td class="note">{escape(note)}</td>'
    return f'<tr class="{kind}">{inner}</tr>' if kind else f"<tr>{inner}</tr>"
