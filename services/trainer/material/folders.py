"""Folders of good and of defective pictures that were mixed up: found before hours of work, not after."""

from pathlib import Path

from services.trainer.errors import AmbiguousPictures
from services.trainer.material.pictures import PictureFile, find_pictures, kind_of

# Whole test sets have their good pictures beside the kinds of defects, as in MVTec AD (``test/good``, ``test/crack``).
NO_DEFECT = frozenset({"good", "normal", "ok"})


def refuse_overlap(normal: Path, abnormal: Path) -> None:
    """Refuse folders of which one holds every picture of the other, as folders are walked recursively.

    Raises:
        AmbiguousPictures: the folders are one, or one lies below the other.
    """
    good, bad = normal.resolve(), abnormal.resolve()
    if good == bad:
        raise AmbiguousPictures(f"--normal and --abnormal are the same folder, {good}: give one of each kind")
    for inner, outer, names in ((bad, good, ("--abnormal", "--normal")), (good, bad, ("--normal", "--abnormal"))):
        if outer in inner.parents:
            raise AmbiguousPictures(
                f"{names[0]} {inner} lies below {names[1]} {outer}, and folders are walked recursively, so that its "
                "pictures would count as both: give two folders side by side"
            )


def find_defective(folder: Path) -> tuple[PictureFile, ...]:
    """Every picture below a folder of defective ones.

    Raises:
        NoPictures: the folder is not there or has none.
        AmbiguousPictures: a kind of defect has a name that good pictures have.
    """
    found = find_pictures(folder)
    for kind in dict.fromkeys(map(kind_of, found)):
        if kind.casefold() in NO_DEFECT:
            raise AmbiguousPictures(
                f"--abnormal {folder} has a folder {kind!r}, whose pictures would count as defective: "
                "give a folder of kinds of defects alone"
            )
    return found
