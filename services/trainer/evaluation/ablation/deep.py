"""Runs the deep rows, each in a process of its own, two at a time, within the time that is left."""

import math
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from services.trainer.errors import TrainingError
from services.trainer.evaluation.ablation.deep_job import DeepAnswer, DeepJob
from services.trainer.evaluation.ablation.features import PIXELS, Features
from services.trainer.evaluation.ablation.results import Outcome
from services.trainer.evaluation.ablation.rows import Row
from services.trainer.evaluation.ablation.splits import Split
from shared import own_process
from shared.vision.engines.openvino import usable_cpus
from shared.vision.keras_applications import APPLICATIONS, cached_weights

LANES = 2  # a network on one thread learns more a second than on two, and half the time goes by before it learns at all
_WORKER = "services.trainer.evaluation.ablation.deep_worker"
_SIZES = {"small-cnn": PIXELS, "vgg16": 64, "resnet50": 64}
_QUICK_SIZES = {"small-cnn": 64, "vgg16": 48, "resnet50": 48, "inceptionv3": 75}


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is spent on a deep row's split, at most."""

    seconds: float
    """Of training."""
    epochs: int
    quick: bool

    def size(self, row: Row) -> int:
        """Side of the row's pictures, pixels: as large as two cores can learn anything from in the time."""
        if cached_weights_of(row):
            return PIXELS  # a trained network sees little in smaller ones
        return _QUICK_SIZES.get(row.name, 64) if self.quick else _SIZES.get(row.name, 96)


FULL, QUICK = Effort(seconds=100, epochs=40, quick=False), Effort(seconds=8, epochs=20, quick=True)


@dataclass(frozen=True, slots=True)
class Task:
    """One row and the splits that are still to be measured."""

    row: Row
    splits: tuple[Split, ...]


def cached_weights_of(row: Row) -> Path | None:
    """ImageNet weights in Keras's cache of a row that is one of Keras's networks."""
    found = [application for name, application in APPLICATIONS.items() if name.lower() == row.name]
    return cached_weights(found[0]) if found else None


def run_deep(
    tasks: Sequence[Task],
    features: Features,
    defective: NDArray[np.bool_],
    *,
    seed: int,
    effort: Effort,
    deadline: float,
    take: Callable[[Row, Split, Outcome], None],
) -> None:
    """Measure every task's splits, giving each row its share of the time until `deadline` (of `time.monotonic`).

    A row that fails does not keep the others from being measured.

    Args:
        tasks: what to measure.
        features: of the pictures.
        defective: (N,) the truth about them.
        seed: of weights, batches and dropout.
        effort: bounds of a split's training, whatever time there is.
        deadline: steps are taken until then; however late it is, a few are.
        take: given each outcome as soon as there is one, by any thread, one at a time.

    Raises:
        TrainingError: a row's process ended without all its outcomes.
    """
    waiting: queue.SimpleQueue[Task] = queue.SimpleQueue()
    for task in tasks:
        waiting.put(task)
    lanes = _Lanes(
        waiting=waiting,
        features=features,
        truth=defective.tolist(),
        seed=seed,
        effort=effort,
        deadline=deadline,
        take=take,
    )
    with ThreadPoolExecutor(LANES, thread_name_prefix="lane") as threads:
        done = [threads.submit(lanes.run) for _ in range(min(LANES, len(tasks)))]
        try:
            for each in done:
                each.result()
        finally:
            lanes.stop()
    if lanes.failures:
        raise TrainingError("; ".join(lanes.failures) + ". What was measured is kept: run the study again to go on")


@dataclass(kw_only=True)
class _Lanes:
    """What the lanes share."""

    waiting: "queue.SimpleQueue[Task]"
    features: Features
    truth: list[bool]
    seed: int
    effort: Effort
    deadline: float
    take: Callable[[Row, Split, Outcome], None]
    failures: list[str] = field(default_factory=list)
    processes: "list[subprocess.Popen[str]]" = field(default_factory=list)
    one_at_a_time: threading.Lock = field(default_factory=threading.Lock)
    stopped: bool = False

    def run(self) -> None:
        """Measure task after task."""
        while not self.stopped:
            rows_left = self.waiting.qsize()
            try:
                task = self.waiting.get_nowait()
            except queue.Empty:
                return
            seconds = (self.deadline - time.monotonic()) / max(1, math.ceil(rows_left / LANES))
            self._measure(task, seconds)

    def stop(self) -> None:
        """End what is still running, as after Ctrl-C."""
        with self.one_at_a_time:
            self.stopped = True
            for process in self.processes:
                process.kill()

    def _measure(self, task: Task, seconds: float) -> None:
        job = DeepJob(
            row=task.row.name,
            features=self.features.folder.absolute(),
            truth=self.truth,
            splits=[(split.name, split.train.tolist(), split.test.tolist()) for split in task.splits],
            seed=self.seed,
            size=self.effort.size(task.row),
            epochs=self.effort.epochs,
            seconds=seconds,
            seconds_a_split=self.effort.seconds,
            threads=max(1, usable_cpus() // LANES),
        )
        splits = {split.name: split for split in task.splits}
        with tempfile.TemporaryFile("w+", errors="backslashreplace") as said, self._start(said) as process:
            assert process.stdin  # noqa: S101 - a pipe
            assert process.stdout  # noqa: S101
            process.stdin.write(job.to_json() + "\n")
            process.stdin.close()
            for line in process.stdout:
                answer = DeepAnswer.from_json(line)
                with self.one_at_a_time:
                    self.take(task.row, splits.pop(answer.split), _outcome(answer))
            process.wait()
            said.seek(0)
            last = own_process.last_words(said.read(), process.returncode)
        if splits and not self.stopped:
            self.failures.append(f"{task.row.name} could not be trained on {', '.join(splits)}: {last}")

    def _start(self, said: IO[str]) -> "subprocess.Popen[str]":
        with self.one_at_a_time:
            process = subprocess.Popen(
                [sys.executable, "-m", _WORKER],
                env=own_process.environment(TF_FORCE_GPU_ALLOW_GROWTH="true"),  # two processes share a GPU
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
            )
            self.processes.append(process)
        return process


def _outcome(answer: DeepAnswer) -> Outcome:
    scores = np.array(answer.scores, np.float32)
    return Outcome(
        scores=scores,
        rejected=scores > 0,
        parameters=answer.parameters,
        ms_per_image=answer.ms_per_image,
        notes=answer.notes,
    )
