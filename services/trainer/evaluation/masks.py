"""Masks of what is defective: looked at before the long work, and doubted where they do not fit."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from services.trainer.errors import UnusableMasks
from services.trainer.evaluation.judging import Inspected
from services.trainer.material.pictures import PictureFile, find_masks, read_grey, read_mask

SAME_SHAPE = 0.02  # of the ratio of width to height: what rounding makes of it where a mask is a smaller picture


@dataclass(frozen=True, slots=True)
class Mask:
    """What a mask is like."""

    path: Path
    height: int
    width: int
    is_empty: bool


@dataclass(frozen=True, slots=True)
class Masks:
    """Of defective pictures, as they were found."""

    of_picture: dict[str, Mask]
    """By the picture's name; those without one are not in it."""

    @classmethod
    def find(cls, folder: Path | None, pictures: Sequence[PictureFile]) -> "Masks":
        """Look for the pictures' masks, and into them; none where there is no folder.

        Raises:
            UnusableMasks: not one picture has a mask, one of them cannot be read, or they are among the pictures.
        """
        found = find_masks(folder, pictures) if folder else (None,) * len(pictures)
        _refuse_as_pictures([path for path in found if path], pictures)
        return cls({picture.name: _look(path) for picture, path in zip(pictures, found, strict=True) if path})

    def paths(self, pictures: Sequence[PictureFile]) -> tuple[Path | None, ...]:
        """Of each picture, None where it has none."""
        masks = (self.of_picture.get(picture.name) for picture in pictures)
        return tuple(mask.path if mask else None for mask in masks)

    def warnings(self, abnormals: Inspected) -> list[str]:
        """One sentence for each way in which masks do not fit the defective pictures that were judged."""
        if not self.of_picture:
            return []
        judged = zip(abnormals.files, abnormals.sizes, strict=True)
        found = [(file, size, self.of_picture.get(file.name)) for file, size in judged]
        ways = (
            ([file for file, _, mask in found if mask is None], "have no mask and count in no figure over pixels"),
            (
                [file for file, _, mask in found if mask and mask.is_empty],
                "have a mask that shows no defect, and count in figures over pixels as if they were good",
            ),
            (
                [file for file, size, mask in found if mask and _is_of_another_shape(mask, size)],
                "have a mask of another ratio of width to height, which was stretched",
            ),
        )
        return [
            f"{len(files)} of {len(found)} defective pictures {what}, for instance {files[0].name}: see whether the "
            "masks are theirs"
            for files, what in ways
            if files
        ]


def _refuse_as_pictures(masks: Sequence[Path], pictures: Sequence[PictureFile]) -> None:
    judged = {picture.path.resolve() for picture in pictures}
    both = [mask for mask in masks if mask.resolve() in judged]
    if both:
        raise UnusableMasks(
            f"{len(both)} masks lie among the defective pictures and would be judged as such, for instance {both[0]}: "
            "move the masks into a folder beside that of the pictures"
        )


def _look(path: Path) -> Mask:
    height, width = read_grey(path).shape
    return Mask(path, height, width, is_empty=not read_mask(path, height, width).any())


def _is_of_another_shape(mask: Mask, size: tuple[int, int]) -> bool:
    height, width = size
    return abs(mask.width * height / (mask.height * width) - 1) > SAME_SHAPE
