"""Pictures mirrored: more to learn known defects from, where few of them are known.

A scratch is one whichever way it runs, and a network that has seen it mirrored knows the next one sooner. Good
pictures are mirrored as well, or being mirrored would be what is learnt.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.trainer.picture_features import BATCH
from services.trainer.pictures import PictureFile
from services.trainer.progress import Progress
from shared.events import FeatureGrid
from shared.vision.engine import Engine
from shared.vision.extraction import extract
from shared.vision.picture import Picture, decode
from shared.vision.recipe import Recipe

TURNS = 3  # ways to mirror a picture: left to right, upside down, both


class Turned(Protocol):
    """Looks at pictures mirrored."""

    def __call__(self, pictures: NDArray[np.intp], turns: NDArray[np.intp]) -> Iterator[list[tuple[FeatureGrid, ...]]]:
        """Features of copies, batch by batch, in their order.

        Args:
            pictures: (n,) which picture each is a copy of.
            turns: (n,) how it is mirrored, below `TURNS`.
        """
        ...


def look_at_turned(files: Sequence[PictureFile], recipe: Recipe, engine: Engine, progress: Progress) -> Turned:
    """For copies of these pictures, all of which can be read."""

    def look(pictures: NDArray[np.intp], turns: NDArray[np.intp]) -> Iterator[list[tuple[FeatureGrid, ...]]]:
        for start in range(0, len(pictures), BATCH):
            of_batch = slice(start, start + BATCH)
            copies = [
                mirrored(decode(files[picture].read()), turn)
                for picture, turn in zip(pictures[of_batch], turns[of_batch], strict=True)
            ]
            yield extract(copies, recipe, engine)
            progress("mirroring pictures to learn from", start + len(copies), len(pictures))

    return look


def mirrored(picture: Picture, turn: int) -> Picture:
    """The picture left to right (0), upside down (1) or both (2)."""
    return np.ascontiguousarray((picture[:, ::-1], picture[::-1], picture[::-1, ::-1])[turn])
