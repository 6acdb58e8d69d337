"""What candidates of a recipe are tried on: some normals, copies of them with defects drawn in, and real defects."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.trainer.material.pictures import PictureFile
from services.trainer.material.rendered_defects import FAMILIES, THIN_LINES, reduced, spoil
from services.trainer.normality.cross_fit import split_into_folds
from services.trainer.progress import Progress
from shared.vision.errors import PictureError
from shared.vision.picture import Picture, decode

MAX_NORMALS = 160  # looked at: more make candidates no easier to tell apart
MAX_ABNORMALS = 64
BASES = 24  # normals that defects are drawn into, one of each family; four are useless, twice as many gain little
# Likewise for thin lines, into which more are drawn: they alone say whether layers of lines join, and with 24 of each
# that is decided by chance.
LINE_BASES = 96
FOLDS = 4


@dataclass(frozen=True, slots=True)
class Sample:
    """Pictures that candidates are tried on."""

    normals: tuple[Picture, ...]
    fold_of: NDArray[np.intp]
    spoilt: tuple[Picture, ...]
    spoilt_base: NDArray[np.intp]
    """Which normal each is a copy of."""
    families: NDArray[np.intp]
    """Of each spoilt picture, its place in `FAMILIES`."""
    abnormals: tuple[Picture, ...]

    @property
    def spoilt_fold_of(self) -> NDArray[np.intp]:
        """A spoilt picture is held out with its base."""
        return self.fold_of[self.spoilt_base]


def gather(
    normals: Sequence[PictureFile],
    groups: Sequence[str] | None,
    abnormals: Sequence[PictureFile],
    *,
    seed: int,
    progress: Progress,
) -> tuple[Sample, list[tuple[int, int]]]:
    """The pictures to try candidates on, and the original (height, width) of the normals among them."""
    random = np.random.default_rng(seed)
    chosen = np.sort(_of_two_groups(random.permutation(len(normals)), groups))
    pictures, sizes, kept = [], [], []
    for done, index in enumerate(chosen, start=1):
        if (picture := _read(normals[index])) is not None:
            pictures.append(reduced(picture))
            sizes.append((picture.shape[0], picture.shape[1]))
            kept.append(index)
        progress("sampling good pictures", done, len(chosen))
    held_out_as = [groups[index] if groups else normals[index].name for index in kept]
    fold_of = split_into_folds(held_out_as, folds=FOLDS, seed=seed)
    order = random.permutation(len(pictures))
    drawn = [(base, family) for base in np.sort(order[:BASES]) for family in FAMILIES]
    drawn += [(base, family) for base in np.sort(order[BASES:LINE_BASES]) for family in THIN_LINES]
    spoilt = []
    for done, (base, family) in enumerate(drawn, start=1):
        donor = int((base + random.integers(1, len(pictures))) % len(pictures))
        spoilt.append(spoil(pictures[base], pictures[donor], family, random))
        progress("drawing defects", done, len(drawn))
    numbers = {family: number for number, family in enumerate(FAMILIES)}
    real = [_read(abnormals[index]) for index in random.permutation(len(abnormals))[:MAX_ABNORMALS]]
    sample = Sample(
        normals=tuple(pictures),
        fold_of=fold_of,
        spoilt=tuple(spoilt),
        spoilt_base=np.array([base for base, _ in drawn]),
        families=np.array([numbers[family] for _, family in drawn]),
        abnormals=tuple(reduced(picture) for picture in real if picture is not None),
    )
    return sample, sizes


def _of_two_groups(shuffled: NDArray[np.intp], groups: Sequence[str] | None) -> NDArray[np.intp]:
    """The first of them, with one of another group as the last where they are of a single one."""
    chosen = shuffled[:MAX_NORMALS].copy()
    if groups and len({groups[index] for index in chosen}) == 1:
        others = [index for index in shuffled[MAX_NORMALS:] if groups[index] != groups[chosen[0]]]
        chosen[-1:] = others[:1] or chosen[-1:]
    return chosen


def _read(file: PictureFile) -> Picture | None:
    """None where it cannot be inspected; `train` has set such files aside and names them."""
    try:
        return decode(file.read())
    except PictureError:
        return None
