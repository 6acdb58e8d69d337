"""Reports of made-up results: what there is to show can be chosen to the last digit."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from services.trainer.evaluation.ablation.dataset import LeftOut
from services.trainer.evaluation.ablation.origin import Origin
from services.trainer.evaluation.ablation.report import Report
from services.trainer.evaluation.ablation.results import Line, Result
from services.trainer.evaluation.ablation.rows import ROWS

RESULT = Result(
    row="",
    split="random-0",
    fingerprint="0123456789abcdef",
    accuracy=0.9,
    precision=0.9,
    recall=0.9,
    f1=0.9,
    auroc=0.9,
    false_reject_rate=0.1,
    parameters=3_000_000,
    ms_per_image=12.0,
    measured_at="2026-03-01T09:00:00+00:00",
    notes={"how": "on pooled features"},
    scores=[0.1, 0.9],
    defective=[False, True],
)


def line(*figures: dict[str, float], row: int = 0, kind: str = "random") -> Line:
    """A line of the table with one split a dictionary, whose figures take the place of `RESULT`'s."""
    return Line(
        row=ROWS[row],
        kind=kind,
        results=tuple(replace(RESULT, row=ROWS[row].name, **each) for each in figures),  # type: ignore[arg-type]  # counts are whole
    )


def report(*lines: Line) -> Report:
    """Of 30 good and 12 defective pictures."""
    return Report(
        lines=lines,
        good=30,
        kinds={"crack": 8, "stain": 4},
        found=42,
        left_out=LeftOut(unreadable=(), copies=0, warnings=()),
        groups=None,
        normal=(Path("/line/good"),),
        abnormal=Path("/line/bad"),
        groups_file=None,
        seed=7,
        quick=False,
        minutes=55.0,
        origin=Origin(
            written_at=datetime(2026, 3, 1, 9, 30, tzinfo=UTC),
            chipsieve="1.2.3",
            cpus=2,
            processor="Some CPU",
            python="3.11.9",
            libraries={"OpenVINO": "2026.4.1", "TensorFlow": "2.21.0"},
        ),
    )
