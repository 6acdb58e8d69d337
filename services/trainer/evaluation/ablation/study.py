"""The whole study: what is still to be measured is, within the time there is."""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from services.trainer.evaluation.ablation.classical import Classical
from services.trainer.evaluation.ablation.dataset import Dataset, find_dataset, require_both, sample
from services.trainer.evaluation.ablation.deep import FULL, QUICK, Task, cached_weights_of, run_deep
from services.trainer.evaluation.ablation.detectors import Detectors
from services.trainer.evaluation.ablation.features import Features, compute_features
from services.trainer.evaluation.ablation.origin import Origin
from services.trainer.evaluation.ablation.report import Report
from services.trainer.evaluation.ablation.results import Line, Outcome, Result, ResultStore
from services.trainer.evaluation.ablation.rows import Row, choose_rows
from services.trainer.evaluation.ablation.splits import Split, make_splits
from services.trainer.evaluation.outputs import refuse_folder
from services.trainer.progress import Progress, silent

# Bump when a row's way of learning changes: kept results are measured again then.
VERSION = 2
SPLITS, QUICK_SPLITS = 3, 2
MINUTES, QUICK_MINUTES = 55.0, 4.5  # on two cores; what is left of an hour, or of five minutes, is for slower ones
QUICK_PICTURES = 400

_STAGES = {"classical": "classical rows", "detector": "detectors", "deep": "networks"}


def ablate(
    *,
    normal: Sequence[Path],
    abnormal: Path,
    out: Path,
    groups: Path | None = None,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    quick: bool = False,
    splits: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Report:
    """Compare classifiers, networks and detectors on pictures whose truth is known.

    Args:
        normal: folders of good pictures, walked recursively.
        abnormal: folder of defective ones; a first-level subfolder names their kind.
        out: folder for the results and what was computed on the way. Results that it has are not measured again.
        groups: CSV of ``file,group`` that names the good pictures, for splits that keep groups whole
            (`services.trainer.evaluation.ablation.dataset.find_dataset` tells how defective ones find theirs).
        only: rows or families to measure; none means all.
        skip: rows or families to leave out.
        quick: some of the pictures, fewer splits, tiny networks: to see that all works.
        splits: how many of each kind.
        minutes: time that networks may fill; nothing is cut short that would leave a row without figures.
        seed: same seed and pictures, same splits. Networks train for a time, and so differ a little.
        progress: told how far each stage is.

    Returns:
        What was found, for `services.trainer.evaluation.ablation.files.write_files` to write.

    Raises:
        AmbiguousPictures: pictures are given as good and as defective.
        UnwritableOutput: `out` cannot be written.
        TrainingError: the folders cannot be used as they are, no such row, or a network could not be trained.
    """
    minutes = minutes or (QUICK_MINUTES if quick else MINUTES)
    deadline = time.monotonic() + 60 * minutes
    rows = choose_rows(only, skip)
    refuse_folder("study", out)
    found, left_out = find_dataset(normal, abnormal, groups, progress)
    require_both(found)
    dataset = sample(found, QUICK_PICTURES, seed) if quick else found
    divided = make_splits(dataset, splits or (QUICK_SPLITS if quick else SPLITS), seed)
    study = _Study(
        dataset=dataset,
        features=compute_features(dataset, out / "cache", progress),
        splits=divided,
        store=ResultStore(out / "results"),
        seed=seed,
        quick=quick,
        progress=progress,
    )
    for family in ("classical", "detector"):
        study.measure_here(family, [row for row in rows if row.family == family])
    study.measure_networks([row for row in rows if row.family == "deep"], deadline)
    return Report(
        lines=study.lines(rows),
        good=dataset.good,
        kinds=dataset.kinds,
        found=len(found),
        left_out=left_out,
        groups=len(set(dataset.groups)) if dataset.groups else None,
        normal=tuple(normal),
        abnormal=abnormal,
        groups_file=groups,
        seed=seed,
        quick=quick,
        minutes=minutes,
        origin=Origin.here(),
    )


@dataclass(frozen=True, kw_only=True)
class _Study:
    dataset: Dataset
    features: Features
    splits: tuple[Split, ...]
    store: ResultStore
    seed: int
    quick: bool
    progress: Progress

    def measure_here(self, family: str, rows: Sequence[Row]) -> None:
        """Measure rows in this process, one after the other."""
        missing = self._missing(rows)
        if not missing:
            return
        runner = (Classical if family == "classical" else Detectors)(self.features, self.dataset, self.seed)
        with self._counted(family, sum(len(task.splits) for task in missing)) as count:
            for task in missing:
                for split in task.splits:
                    # The threads of BLAS and OpenMP wait for each other in loops: on a busy machine for minutes.
                    with threadpool_limits(1):
                        outcome = runner.run(task.row.name, split)
                    self._keep(task.row, split, outcome)
                    next(count)

    def measure_networks(self, rows: Sequence[Row], deadline: float) -> None:
        """Measure rows in processes of their own."""
        missing = self._missing(rows)
        if not missing:
            return
        with self._counted("deep", sum(len(task.splits) for task in missing)) as count:

            def take(row: Row, split: Split, outcome: Outcome) -> None:
                self._keep(row, split, outcome)
                next(count)

            run_deep(
                missing,
                self.features,
                self.dataset.defective,
                seed=self.seed,
                effort=QUICK if self.quick else FULL,
                deadline=deadline,
                take=take,
            )

    def lines(self, rows: Sequence[Row]) -> tuple[Line, ...]:
        """Everything that was measured of the rows, now or before."""
        lines = []
        for row in rows:
            for kind in dict.fromkeys(split.kind for split in self.splits):
                kept = [self._kept(row, split) for split in self.splits if split.kind == kind]
                if results := tuple(each for each in kept if each):
                    lines.append(Line(row=row, kind=kind, results=results))
        return tuple(lines)

    def _missing(self, rows: Sequence[Row]) -> list[Task]:
        tasks = [Task(row, tuple(split for split in self.splits if not self._kept(row, split))) for row in rows]
        return [task for task in tasks if task.splits]

    def _kept(self, row: Row, split: Split) -> Result | None:
        return self.store.get(row, split, self._fingerprint(row, split))

    def _keep(self, row: Row, split: Split, outcome: Outcome) -> None:
        defective = self.dataset.defective[split.test]
        self.store.put(Result.of(row, split, self._fingerprint(row, split), outcome, defective))

    def _fingerprint(self, row: Row, split: Split) -> str:
        """Of all that decides a result but the time that was left for it, which its notes tell."""
        effort = (QUICK if self.quick else FULL) if row.family == "deep" else None
        decides: dict[str, Any] = {
            "version": VERSION,
            "pictures": self.features.folder.name,
            "test": split.test.tolist(),
            "seed": self.seed,
            "effort": str(effort),
            "weights": cached_weights_of(row) is not None,
        }
        return hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:16]

    @contextmanager
    def _counted(self, family: str, total: int) -> Iterator[Iterator[None]]:
        """Something to call `next` of after each of `total` results."""

        def count() -> Iterator[None]:
            for done in range(1, total + 1):
                self.progress(_STAGES[family], done, total)
                yield

        self.progress(_STAGES[family], 0, total)
        yield count()
