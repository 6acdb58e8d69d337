"""Pictures that are to be added to a bundle: those that it has not seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.trainer.errors import AmbiguousPictures, CannotUpdate
from services.trainer.material.copies import Distinct
from services.trainer.material.pictures import PictureFile

NOTHING_KNOWN: Mapping[str, Sequence[str]] = {"normals": (), "abnormals": ()}
"""What a bundle says that was made before digests were kept."""


@dataclass(frozen=True, slots=True)
class Additions:
    """What is new to a bundle, and what it knew already."""

    distinct: Distinct
    known: tuple[PictureFile, ...]
    """Good pictures that the bundle has learnt from before."""
    digests: dict[str, list[str]]
    """Of all that the bundle knows afterwards."""

    @classmethod
    def of(cls, folder: Path, distinct: Distinct, training: Mapping[str, Any]) -> "Additions":
        """Sort them out.

        Args:
            folder: where they lie.
            distinct: those that can be read.
            training: the summary of the bundle that they are to be added to.

        Raises:
            AmbiguousPictures: one of them is a defect that the bundle knows.
            CannotUpdate: not one is new.
        """
        before: Mapping[str, Sequence[str]] = training.get("digests", NOTHING_KNOWN)
        pairs = list(zip(distinct.files, distinct.digests, strict=True))
        defects = [file for file, digest in pairs if digest in set(before["abnormals"])]
        if defects:
            raise AmbiguousPictures(
                f"{len(defects)} of the pictures in {folder} are defects that the bundle has learnt from, for instance "
                f"{defects[0].name}: leave them out, or train again with each picture in the folder where it belongs"
            )
        seen = set(before["normals"])
        new = [(file, digest) for file, digest in pairs if digest not in seen]
        if not new:
            raise CannotUpdate(
                f"the bundle has learnt from all {len(pairs)} pictures in {folder} already: adding them again would "
                "tell nothing new, and its promise would rest on the same pictures twice"
            )
        return cls(
            Distinct(tuple(file for file, _ in new), tuple(digest for _, digest in new), distinct.copies),
            tuple(file for file, digest in pairs if digest in seen),
            {"normals": [*before["normals"], *(digest for _, digest in new)], "abnormals": list(before["abnormals"])},
        )

    @property
    def warnings(self) -> list[str]:
        """Of copies among them, and of what was known."""
        if not self.known:
            return self.distinct.warnings
        sentence = (
            f"{len(self.known)} pictures are known to the bundle already, for instance {self.known[0].name}, and were "
            "left out"
        )
        return [*self.distinct.warnings, sentence]
