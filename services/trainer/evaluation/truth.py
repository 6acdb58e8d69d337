"""Pictures whose truth is known, sorted out: each counts once, and those that the bundle has seen are told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.trainer.errors import UnreadableFile
from services.trainer.material.copies import Distinct, refuse_shared
from services.trainer.material.folders import find_defective, refuse_overlap
from services.trainer.material.pictures import PictureFile, find_pictures


@dataclass(frozen=True, slots=True)
class KnownTruth:
    """Files to judge, readable or not."""

    normals: tuple[PictureFile, ...]
    abnormals: tuple[PictureFile, ...]
    warnings: tuple[str, ...]
    """Of copies, and of pictures that the bundle has learnt from."""

    @classmethod
    def find(cls, normal: Path, abnormal: Path | None, training: Mapping[str, Any]) -> "KnownTruth":
        """Walk the folders.

        Args:
            normal: of good pictures.
            abnormal: of defective ones.
            training: the summary of the bundle that is to judge them.

        Raises:
            NoPictures: a folder is not there or has none.
            AmbiguousPictures: pictures are given as good and as defective.
        """
        if abnormal:
            refuse_overlap(normal, abnormal)
        files = find_pictures(normal), find_defective(abnormal) if abnormal else ()
        normals, abnormals = (_not_empty(each) for each in files)
        refuse_shared(normals, abnormals)
        return cls(
            _without(files[0], normals.copies),
            _without(files[1], abnormals.copies),
            (*normals.warnings, *abnormals.warnings, *_learnt_from(normals, abnormals, training)),
        )


def doubts_of_groups(groups: Sequence[str] | None, learnt: Sequence[str] | None) -> list[str]:
    """A sentence where groups are judged that have the names of groups that the bundle has learnt from, or where the
    bundle knows groups and those of what is judged are not given.

    Args:
        groups: each good picture's; None where none are given.
        learnt: names of the bundle's groups; None where it was made without.
    """
    if groups is None and learnt is not None:
        sentence = (
            "the bundle was made by groups, and intervals count each picture for itself, too sure where one part was "
            "taken several times: give --groups"
        )
        return [sentence]
    judged = set(groups or ())
    both = sorted(judged & set(learnt or ()))
    if not both:
        return []
    sentence = (
        f"{len(both)} of {len(judged)} groups have names of groups that the bundle has learnt from, for instance "
        f"{both[0]}: if they are the same, all figures flatter it, so judge groups that it has not seen"
    )
    return [sentence]


def _not_empty(files: Sequence[PictureFile]) -> Distinct:
    """Files by their bytes; all empty ones have the same, and are no pictures, as those that cannot be read."""
    return Distinct.of([file for file in files if _has_content(file)])


def _has_content(file: PictureFile) -> bool:
    try:
        return bool(file.read())
    except UnreadableFile:  # named with the others that cannot be inspected
        return False


def _without(
    files: Sequence[PictureFile], copies: Sequence[tuple[PictureFile, PictureFile]]
) -> tuple[PictureFile, ...]:
    left_out = {copy for copy, _ in copies}
    return tuple(file for file in files if file not in left_out)


def _learnt_from(normals: Distinct, abnormals: Distinct, training: Mapping[str, Any]) -> list[str]:
    """A sentence where the bundle has seen the very pictures that it is to judge."""
    digests: Mapping[str, Sequence[str]] = training.get("digests", {})  # a bundle of old has none
    known = {digest for each in digests.values() for digest in each}
    pairs = [*zip(normals.files, normals.digests, strict=True), *zip(abnormals.files, abnormals.digests, strict=True)]
    seen = [file for file, digest in pairs if digest in known]
    if not seen:
        return []
    sentence = (
        f"{len(seen)} of {len(pairs)} pictures are among those that the bundle has learnt from, for instance "
        f"{seen[0].name}: all figures flatter it, so judge pictures that it has not seen"
    )
    return [sentence]
