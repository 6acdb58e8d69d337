"""The same bytes again: a copy tells nothing new, and held out without its original it seems to keep a promise."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from services.trainer.errors import AmbiguousPictures
from services.trainer.material.pictures import PictureFile

DIGITS = 16  # of SHA-256 in hex: two of a million pictures agree by chance once in 40 million bundles


@dataclass(frozen=True, slots=True)
class Distinct:
    """Pictures of which no two have the same bytes, and the copies that were left out."""

    files: tuple[PictureFile, ...]
    digests: tuple[str, ...]
    """One a file."""
    copies: tuple[tuple[PictureFile, PictureFile], ...]
    """Each picture that was left out, and the one that was kept in its place."""

    @classmethod
    def of(cls, files: Sequence[PictureFile]) -> "Distinct":
        """The first of all that are the same."""
        kept: dict[str, PictureFile] = {}
        copies = []
        for file in files:
            first = kept.setdefault(digest_of(file), file)
            if first is not file:
                copies.append((file, first))
        return cls(tuple(kept.values()), tuple(kept), tuple(copies))

    @property
    def warnings(self) -> list[str]:
        """One sentence, where anything was left out."""
        if not self.copies:
            return []
        copy, original = self.copies[0]
        sentence = (
            f"{len(self.copies)} pictures are copies of others, for instance {copy.name} of {original.name}, and were "
            "left out: the same picture again tells nothing new, and no promise can rest on it"
        )
        return [sentence]


def digest_of(file: PictureFile) -> str:
    """What tells a file from all others."""
    return hashlib.sha256(file.read()).hexdigest()[:DIGITS]


def refuse_shared(normals: Distinct, abnormals: Distinct) -> None:
    """Refuse pictures that are given both as good and as defective.

    Raises:
        AmbiguousPictures: naming the first that is.
    """
    good = dict(zip(normals.digests, normals.files, strict=True))
    both = [
        (good[digest], file) for digest, file in zip(abnormals.digests, abnormals.files, strict=True) if digest in good
    ]
    if both:
        normal, abnormal = both[0]
        raise AmbiguousPictures(
            f"{len(both)} picture(s) are given both as good and as defective, for instance {normal.path}, which is the "
            f"same as {abnormal.path}: keep each in the folder where it belongs"
        )
