"""Folders of good and of defective pictures that were mixed up: found before hours of work, not after."""

from pathlib import Path

from services.trainer.errors import AmbiguousPictures


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
