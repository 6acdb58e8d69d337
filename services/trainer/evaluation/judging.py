"""Whole pictures against a bank in one process: decode, extract, match, as the line does over three."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.trainer.errors import StaleBundle
from services.trainer.material.picture_features import Unreadable, look_at
from services.trainer.material.pictures import PictureFile
from services.trainer.progress import Progress
from shared.vision.bank import Bank
from shared.vision.engine import Engine
from shared.vision.inspection import Inspection, inspect


@dataclass(frozen=True, slots=True)
class Inspected:
    """Pictures that were judged, in order, and those that could not be."""

    files: tuple[PictureFile, ...]
    sizes: tuple[tuple[int, int], ...]
    """(height, width), pixels."""
    inspections: tuple[Inspection, ...]
    unreadable: tuple[Unreadable, ...]
    seconds: float
    """Reading, decoding, extracting and matching together."""

    @property
    def scores(self) -> NDArray[np.float32]:
        """(N,) float32."""
        return np.array([inspection.score for inspection in self.inspections], np.float32)


def inspect_files(
    stage: str, files: Sequence[PictureFile], bank: Bank, engine: Engine, progress: Progress
) -> Inspected:
    """Judge files in batches; what is no picture is named, not judged."""
    judged: list[tuple[PictureFile, tuple[int, int], Inspection]] = []
    unreadable: list[Unreadable] = []
    done = 0
    started = time.perf_counter()
    for batch in look_at(files, bank.recipe, engine):
        judged += zip(batch.files, batch.sizes, inspect(batch.grids, batch.sizes, bank), strict=True)
        unreadable += batch.unreadable
        done += batch.count
        progress(stage, done, len(files))
    seconds = time.perf_counter() - started
    return Inspected(
        files=tuple(file for file, _, _ in judged),
        sizes=tuple(size for _, size, _ in judged),
        inspections=tuple(inspection for _, _, inspection in judged),
        unreadable=tuple(unreadable),
        seconds=seconds,
    )


def refuse_if_stale(bank: Bank, weights_sha256: str) -> None:
    """Before pictures are compared with a bank that this version's features do not fit.

    Raises:
        StaleBundle: the bank lives in another feature space than its recipe makes with these weights.
    """
    ours = bank.recipe.feature_space(weights_sha256)
    if ours != bank.feature_space:
        raise StaleBundle(
            f"the bundle of {bank.product} {bank.version} was made in feature space {bank.feature_space}, "
            f"this version makes {ours}: train it again"
        )
