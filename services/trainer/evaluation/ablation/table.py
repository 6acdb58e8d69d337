"""The study's table: what stands in its cells."""

from services.trainer.evaluation.ablation.results import MEASURES, Line

PAPER = {
    "title": "Ullah et al. 2024, on their own private pictures",
    "doi": "10.1093/jcde/qwae019",
    "accuracy": 0.985,
    "precision": 0.972,
    "recall": 0.980,
}
"""What the paper reports of its best model. The pictures are not public: the figures stand beside, not in the race."""

_TITLES = {"f1": "F1", "auroc": "AUROC", "false_reject_rate": "false rejects"}
HEADINGS = ("row", "split", *(_TITLES.get(measure, measure) for measure in MEASURES), "parameters", "ms/image", "note")


def cells(line: Line) -> tuple[str, ...]:
    """A line of the table as text, by `HEADINGS`."""
    return (
        line.row.title,
        line.kind,
        *(_figure(line, measure, digits=3) for measure in MEASURES),
        f"{line.mean('parameters') / 1e6:.2f} M",
        _figure(line, "ms_per_image", digits=1),
        line.note,
    )


def paper_cells() -> tuple[str, ...]:
    """The paper's own figures as a line of the table."""
    figures = (f"{PAPER[measure]:.3f}" if measure in PAPER else "" for measure in MEASURES)
    return (str(PAPER["title"]), "", *figures, "", "", f"doi {PAPER['doi']}")


def _figure(line: Line, measure: str, *, digits: int) -> str:
    mean, deviation = line.mean(measure), line.deviation(measure)
    return f"{mean:.{digits}f}" + (f" ± {deviation:.{digits}f}" if deviation is not None else "")
