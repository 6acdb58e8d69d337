"""The pictures of a study, what is known of them, and which may not be parted by a grouped split."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.trainer.errors import TrainingError
from services.trainer.material.numbered import Numbered
from services.trainer.material.pictures import PictureFile, find_pictures, read_group_table, read_groups

NORMAL = "normal"
"""Stratum of the good pictures; a defective one's is its kind."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Pictures with the truth about them, good ones first; all fields but the last have one entry a picture."""

    files: tuple[PictureFile, ...]
    defective: NDArray[np.bool_]
    strata: tuple[str, ...]
    """``normal``, or a defective picture's kind: every split takes its share of each."""
    groups: tuple[str, ...] | None

    def __len__(self) -> int:
        return len(self.files)

    def chosen(self, indices: Sequence[int]) -> "Dataset":
        """Some of the pictures, in the order given."""
        return Dataset(
            files=tuple(self.files[index] for index in indices),
            defective=self.defective[list(indices)],
            strata=tuple(self.strata[index] for index in indices),
            groups=tuple(self.groups[index] for index in indices) if self.groups else None,
        )

    def fingerprint(self) -> str:
        """Changes with any picture's name, size, time, truth or group: 16 hex digits."""
        known = []
        for index, file in enumerate(self.files):
            status = file.path.stat()
            group = self.groups[index] if self.groups else None
            known.append([str(file.path), status.st_size, status.st_mtime_ns, self.strata[index], group])
        return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]


def find_dataset(normal: Sequence[Path], abnormal: Path, groups: Path | None) -> Dataset:
    """All pictures below the folders.

    The groups CSV must name every good picture. A defective one that it does not name joins the group of the good
    picture whose number is next to its own, a number being the last digits of a file's name: cameras number what they
    take, and pictures of one part taken one after the other may not stand on both sides of a split. Where names have
    no numbers, it is a group of its own.

    Raises:
        TrainingError: a folder has no pictures, or the groups do not fit them.
    """
    good = tuple(file for folder in normal for file in find_pictures(folder))
    bad = find_pictures(abnormal)
    group_of = None
    if groups:
        group_of_good = read_groups(groups, good)
        group_of = (*group_of_good, *_groups_of_defective(bad, good, group_of_good, read_group_table(groups)))
    return Dataset(
        files=(*good, *bad),
        defective=np.arange(len(good) + len(bad)) >= len(good),
        strata=(*[NORMAL] * len(good), *(_kind(file) for file in bad)),
        groups=group_of,
    )


def sample(dataset: Dataset, most: int, seed: int) -> Dataset:
    """About `most` of the pictures, each stratum's share of them, two of each at least; all where there are no more."""
    if len(dataset) <= most:
        return dataset
    random = np.random.default_rng(seed)
    strata = np.array(dataset.strata)
    kept: list[int] = []
    for stratum in sorted(set(dataset.strata)):
        members = np.flatnonzero(strata == stratum)
        count = min(len(members), max(2, round(len(members) * most / len(dataset))))
        kept += random.choice(members, count, replace=False).tolist()
    return dataset.chosen(sorted(kept))


def _kind(file: PictureFile) -> str:
    kind, separator, _ = file.name.partition("/")
    return kind if separator and kind != NORMAL else "defective"


def _groups_of_defective(
    bad: Sequence[PictureFile], good: Sequence[PictureFile], group_of_good: Sequence[str], table: dict[str, str]
) -> list[str]:
    numbered = Numbered(good, group_of_good)
    return [
        table.get(file.name) or table.get(file.path.name) or numbered.group_of(file) or f"defective/{file.name}"
        for file in bad
    ]


def require_both(dataset: Dataset) -> None:
    """Refuse pictures of which a split could not have both sides of both truths.

    Raises:
        TrainingError: fewer than five pictures of a truth.
    """
    for what, count in (("good", int((~dataset.defective).sum())), ("defective", int(dataset.defective.sum()))):
        if count < 5:  # a fifth of them is tested
            raise TrainingError(f"{count} {what} pictures cannot be split into training and test: give five at least")
