"""Pictures mirrored and turned: more to learn from, where few are given.

A scratch is one whichever way it runs, and a network that has seen it mirrored knows the next one sooner. Good
pictures are mirrored as well, or being mirrored would be what is learnt. What good ones by themselves gain:
`services.trainer.normality.turned_normals`.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from services.trainer.material.picture_features import BATCH
from services.trainer.material.pictures import PictureFile
from services.trainer.progress import Progress
from shared.events import FeatureGrid
from shared.vision.engine import Engine
from shared.vision.extraction import extract
from shared.vision.picture import decode
from shared.vision.recipe import Recipe

Pixel = TypeVar("Pixel", bound=np.generic)

TURN_NAMES = (
    "left to right",
    "upside down",
    "half a turn",
    "by its diagonal",
    "a quarter turn right",
    "a quarter turn left",
    "by its other diagonal",
)
"""All ways to turn a picture into another one; turns are places in it."""
TURNS = 3  # the first ones, which keep width and height


class Turned(Protocol):
    """Looks at pictures mirrored."""

    def __call__(self, pictures: NDArray[np.intp], turns: NDArray[np.intp]) -> Iterator[list[tuple[FeatureGrid, ...]]]:
        """Features of copies, batch by batch, in their order.

        Args:
            pictures: (n,) which picture each is a copy of.
            turns: (n,) how it is turned: places in `TURN_NAMES`.
        """
        ...


def look_at_turned(files: Sequence[PictureFile], recipe: Recipe, engine: Engine, progress: Progress) -> Turned:
    """For copies of these pictures, all of which can be read."""

    def look(pictures: NDArray[np.intp], turns: NDArray[np.intp]) -> Iterator[list[tuple[FeatureGrid, ...]]]:
        for start in range(0, len(pictures), BATCH):
            of_batch = slice(start, start + BATCH)
            copies = [
                turned(decode(files[picture].read()), turn)
                for picture, turn in zip(pictures[of_batch], turns[of_batch], strict=True)
            ]
            yield extract(copies, recipe, engine)
            progress("turning pictures to learn from", start + len(copies), len(pictures))

    return look


def turned(picture: NDArray[Pixel], turn: int) -> NDArray[Pixel]:
    """The picture (or what is known of its places), turned as this place in `TURN_NAMES` says."""
    if turn >= TURNS:
        picture = picture.swapaxes(0, 1)
        turn -= TURNS + 1
        if turn < 0:
            return np.ascontiguousarray(picture)
    return np.ascontiguousarray((picture[:, ::-1], picture[::-1], picture[::-1, ::-1])[turn])
