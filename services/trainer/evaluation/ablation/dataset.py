"""The pictures of a study, what is known of them, and which may not be parted by a grouped split."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.trainer.errors import TrainingError
from services.trainer.material.copies import refuse_shared
from services.trainer.material.folders import find_defective, refuse_overlap
from services.trainer.material.numbered import Numbered
from services.trainer.material.picture_features import Unreadable, sort_out
from services.trainer.material.pictures import (
    PictureFile,
    each_alone,
    find_pictures,
    groups_of_abnormals,
    kind_of,
    read_group_table,
    read_groups,
)
from services.trainer.progress import Progress, silent

NORMAL = "normal"
"""Stratum of the good pictures; a defective one's is its kind."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Pictures with the truth about them, good ones first; all fields but the last have one entry a picture."""

    files: tuple[PictureFile, ...]
    digests: tuple[str, ...]
    """No two are the same: a copy of a training picture among the tested ones is an answer told beforehand."""
    defective: NDArray[np.bool_]
    strata: tuple[str, ...]
    """``normal``, or a defective picture's kind: every split takes its share of each."""
    groups: tuple[str, ...] | None

    def __len__(self) -> int:
        return len(self.files)

    @property
    def good(self) -> int:
        """How many are good."""
        return int((~self.defective).sum())

    @property
    def kinds(self) -> dict[str, int]:
        """How many are defective, by kind."""
        found = [stratum for stratum in self.strata if stratum != NORMAL]
        return {kind: found.count(kind) for kind in sorted(set(found))}

    def chosen(self, indices: Sequence[int]) -> "Dataset":
        """Some of the pictures, in the order given."""
        return Dataset(
            files=tuple(self.files[index] for index in indices),
            digests=tuple(self.digests[index] for index in indices),
            defective=self.defective[list(indices)],
            strata=tuple(self.strata[index] for index in indices),
            groups=tuple(self.groups[index] for index in indices) if self.groups else None,
        )

    def fingerprint(self) -> str:
        """Changes with any picture's bytes, truth or group: 16 hex digits."""
        known = [self.digests, self.strata, self.groups]
        return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Files of the folders that are not in the data set."""

    unreadable: tuple[Unreadable, ...]
    copies: int
    warnings: tuple[str, ...]
    """A sentence for good pictures and one for defective ones, where copies were left out."""


def find_dataset(
    normal: Sequence[Path], abnormal: Path, groups: Path | None, progress: Progress = silent
) -> tuple[Dataset, LeftOut]:
    """All pictures below the folders that can be read, each of them once, and what was left out.

    The groups CSV must name every good picture. A defective one that it does not name joins the group of the good
    picture whose number is next to its own, a number being the last digits of a file's name: cameras number what they
    take, and pictures of one part taken one after the other may not stand on both sides of a split. Where names have
    no numbers, or folders are numbered each by itself, it is a group of its own.

    Raises:
        AmbiguousPictures: pictures are given as good and as defective.
        NoPictures: a folder has none, or none that can be read.
        UnusableGroups: the groups do not fit the pictures.
    """
    for folder in normal:
        refuse_overlap(folder, abnormal)
    if groups:
        read_group_table(groups)  # refuses one that cannot be read, before the long work
    found = [file for folder in normal for file in find_pictures(folder)], find_defective(abnormal)
    good, unreadable_good = sort_out("reading pictures", ", ".join(map(str, normal)), found[0], progress)
    bad, unreadable_bad = sort_out("reading defective pictures", abnormal, found[1], progress)
    refuse_shared(good, bad)
    group_of = None
    if group_of_good := read_groups(groups, good.files):
        group_of = (*group_of_good, *_groups_of_defective(bad.files, good.files, group_of_good, groups))
    dataset = Dataset(
        files=(*good.files, *bad.files),
        digests=(*good.digests, *bad.digests),
        defective=np.arange(len(good.files) + len(bad.files)) >= len(good.files),
        strata=(*[NORMAL] * len(good.files), *(kind_of(file) or "defective" for file in bad.files)),
        groups=group_of,
    )
    left_out = LeftOut(
        unreadable=(*unreadable_good, *unreadable_bad),
        copies=len(good.copies) + len(bad.copies),
        warnings=(*good.warnings, *bad.warnings),
    )
    return dataset, left_out


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


def _groups_of_defective(
    bad: Sequence[PictureFile], good: Sequence[PictureFile], group_of_good: Sequence[str], table: Path | None
) -> list[str]:
    numbered = Numbered(good, group_of_good)
    by_number = numbered.also_number(bad)
    alone = each_alone(bad)
    named = groups_of_abnormals(table, bad, good) or alone
    return [
        group if group != own else (numbered.group_of(file) if by_number else None) or f"defective/{file.name}"
        for file, group, own in zip(bad, named, alone, strict=True)
    ]


def require_both(dataset: Dataset) -> None:
    """Refuse pictures of which a split could not have both sides of both truths.

    Raises:
        TrainingError: fewer than five pictures of a truth.
    """
    for what, count in (("good", dataset.good), ("defective", len(dataset) - dataset.good)):
        if count < 5:  # a fifth of them is tested
            raise TrainingError(
                f"{count} {what} pictures, without copies and what cannot be read, cannot be split into training and "
                "test: give five at least"
            )
