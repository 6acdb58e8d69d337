"""Defective pictures that no group is known of, where groups are: several of one part would count as several parts."""

from collections.abc import Sequence
from pathlib import Path

from services.trainer.material.pictures import PictureFile, each_alone


def ungrouped_defects(
    table: Path | None, abnormals: Sequence[PictureFile], groups: Sequence[str] | None, *, what: str
) -> list[str]:
    """A sentence where the table leaves defective pictures out; none without a table.

    Args:
        table: CSV of ``file,group``.
        abnormals: A pictures.
        groups: (A,) of them, as `services.trainer.material.pictures.groups_of_abnormals` finds them.
        what: counts each of them for itself.
    """
    if table is None or not abnormals:
        return []
    alone = each_alone(abnormals)
    left_out = [file for file, own, group in zip(abnormals, alone, groups or alone, strict=True) if group == own]
    if not left_out:
        return []
    sentence = (
        f"{table} names no group of {len(left_out)} of {len(abnormals)} defective pictures, for instance "
        f"{left_out[0].name}: {what} each for itself, and too sure where one part was taken several times"
    )
    return [sentence]
