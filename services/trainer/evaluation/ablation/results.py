"""What was measured: one JSON file a row and split, so that an interrupted study goes on where it stopped."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.trainer.evaluation.ablation.rows import Row
from services.trainer.evaluation.ablation.splits import Split
from services.trainer.evaluation.metrics import Confusion, auroc
from services.trainer.evaluation.outputs import told, write_whole

MEASURES = ("accuracy", "precision", "recall", "f1", "auroc", "false_reject_rate")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one row made of one split's test pictures."""

    scores: NDArray[np.float32]
    """(n,): the higher, the likelier defective."""
    rejected: NDArray[np.bool_]
    """(n,)."""
    parameters: int
    """Numbers that must be kept to judge pictures, the backbone's among them."""
    ms_per_image: float
    """From decoded pixels to verdict, one picture at a time, milliseconds."""
    notes: dict[str, Any]
    """How it was trained, as far as the row's name does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """An outcome against the truth. Positive means defective."""

    row: str
    split: str
    fingerprint: str
    """Of all that decides the result; one that differs is measured again."""
    accuracy: float
    precision: float
    """Of no rejects at all it is 0, so that a mean over splits stays defined."""
    recall: float
    f1: float
    auroc: float
    false_reject_rate: float
    parameters: int
    ms_per_image: float
    measured_at: str
    """ISO 8601, UTC: a study that is gone on with has results of several days."""
    notes: dict[str, Any]
    scores: list[float]
    defective: list[bool]

    @classmethod
    def of(cls, row: Row, split: Split, fingerprint: str, outcome: Outcome, defective: NDArray[np.bool_]) -> "Result":
        """Compare an outcome with the truth about the test pictures, (n,) both."""
        confusion = Confusion.of(outcome.rejected, defective)
        return cls(
            row=row.name,
            split=split.name,
            fingerprint=fingerprint,
            accuracy=confusion.accuracy or 0.0,
            precision=confusion.precision or 0.0,
            recall=confusion.recall or 0.0,
            f1=confusion.f1 or 0.0,
            auroc=auroc(outcome.scores, defective) or 0.0,
            false_reject_rate=confusion.false_reject_rate or 0.0,
            parameters=outcome.parameters,
            ms_per_image=outcome.ms_per_image,
            measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
            notes=outcome.notes,
            scores=[round(float(score), 6) for score in outcome.scores],
            defective=defective.tolist(),
        )


class ResultStore:
    """Results below a folder, by row and split."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, result: Result) -> None:
        """Keep a result, whole or not at all.

        Raises:
            UnwritableOutput: the folder cannot be written.
        """
        path = self._path(result.row, result.split)
        with told("results", self._folder):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps(asdict(result)))

    def get(self, row: Row, split: Split, fingerprint: str) -> Result | None:
        """The result that was kept, unless it was measured under other circumstances."""
        try:
            result = Result(**json.loads(self._path(row.name, split.name).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):  # not there, cut short, or of an older form: it is measured again
            return None
        return result if result.fingerprint == fingerprint else None

    def _path(self, row: str, split: str) -> Path:
        return self._folder / row / f"{split}.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A row's results over the splits of one kind."""

    row: Row
    kind: str
    """``random`` or ``grouped``."""
    results: tuple[Result, ...]
    """One at least."""

    def mean(self, measure: str) -> float:
        """Of one of `MEASURES` or ``ms_per_image`` or ``parameters``, over splits."""
        return float(np.mean([getattr(result, measure) for result in self.results]))

    def deviation(self, measure: str) -> float | None:
        """Sample standard deviation over splits; a single one has none."""
        values = [getattr(result, measure) for result in self.results]
        return float(np.std(values, ddof=1)) if len(values) > 1 else None

    @property
    def note(self) -> str:
        """What is to be known of how the row was trained."""
        return describe([result.notes for result in self.results])

    def to_json(self) -> dict[str, Any]:
        """As plain JSON; what is not defined is None."""
        return {
            "row": self.row.name,
            "family": self.row.family,
            "title": self.row.title,
            "split": self.kind,
            "splits": len(self.results),
            **{
                measure: {"mean": _defined(self.mean(measure)), "sd": _defined(self.deviation(measure))}
                for measure in (*MEASURES, "ms_per_image")
            },
            "parameters": round(self.mean("parameters")),
            "note": self.note,
        }


def describe(notes: Sequence[dict[str, Any]]) -> str:
    """The notes of several splits as one line: what they share, and of numbers that differ the range."""
    parts = []
    for name in notes[0]:
        values = [note[name] for note in notes if name in note]
        shown = [f"{value:.3g}" if isinstance(value, float) else str(value) for value in sorted(set(values))]
        text = shown[0] if len(shown) == 1 else f"{shown[0]} to {shown[-1]}"
        parts.append(f"{name} {text}" if name != "how" else text)
    return ", ".join(parts)


def _defined(figure: float | None) -> float | None:
    """JSON has no word for what is no number."""
    return figure if figure is not None and math.isfinite(figure) else None
