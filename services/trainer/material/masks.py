"""Masks of what is defective: looked at before the long work, and doubted where they do not fit."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from services.trainer.errors import UnusableMasks
from services.trainer.material.pictures import PictureFile, find_masks, read_drawn

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

    @property
    def telling(self) -> int:
        """How many show a defect."""
        return sum(not mask.is_empty for mask in self.of_picture.values())

    def warnings(
        self, pictures: Sequence[PictureFile], sizes: Sequence[tuple[int, int]], *, missing: str, empty: str
    ) -> list[str]:
        """One sentence for each way in which masks do not fit the defective pictures that were looked at.

        Args:
            pictures: those.
            sizes: (height, width) of each, pixels.
            missing: what becomes of a picture without a mask, as the end of "3 of 8 pictures have no mask and ...".
            empty: what becomes of one whose mask is black, likewise.
        """
        if not self.of_picture:
            return []
        found = [(file, size, self.of_picture.get(file.name)) for file, size in zip(pictures, sizes, strict=True)]
        ways = (
            ([file for file, _, mask in found if mask is None], f"have no mask and {missing}"),
            (
                [file for file, _, mask in found if mask and mask.is_empty],
                f"have a mask that shows no defect, and {empty}",
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
    given = {picture.path.resolve() for picture in pictures}
    both = [mask for mask in masks if mask.resolve() in given]
    if both:
        raise UnusableMasks(
            f"{len(both)} masks lie among the defective pictures and would be taken for such, for instance {both[0]}: "
            "move the masks into a folder beside that of the pictures"
        )


def refuse_masks_alone(folder: Path | None) -> None:
    """Where there are no defective pictures.

    Raises:
        UnusableMasks: there are masks.
    """
    if folder:
        raise UnusableMasks(f"the masks in {folder} mirror defective pictures, and there are none: give --abnormal")


def _look(path: Path) -> Mask:
    drawn = read_drawn(path)
    height, width = drawn.shape
    return Mask(path, height, width, is_empty=not drawn.any())


def _is_of_another_shape(mask: Mask, size: tuple[int, int]) -> bool:
    height, width = size
    return abs(mask.width * height / (mask.height * width) - 1) > SAME_SHAPE
