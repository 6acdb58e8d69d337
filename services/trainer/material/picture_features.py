"""Pictures on disk to features, in batches, by the same code as the line's extractor."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from services.trainer.errors import NoPictures, UnreadableFile
from services.trainer.material.copies import Distinct
from services.trainer.material.pictures import PictureFile
from services.trainer.progress import Progress
from shared.events import FeatureGrid
from shared.vision.engine import Engine
from shared.vision.errors import PictureError
from shared.vision.extraction import extract
from shared.vision.picture import AsStored, decode_as_stored
from shared.vision.recipe import Recipe

Problem = PictureError | UnreadableFile
"""Why a file is no picture that could be inspected."""

BATCH = 16  # pictures decoded and extracted together, as on the line; bounds what is held of large ones
DECODE_THREADS = 2  # decoding leaves the interpreter lock; more threads only hold more pictures


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that is no picture that could be inspected."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Looked:
    """Pictures and their features, one entry a picture in each field but the last."""

    files: tuple[PictureFile, ...]
    sizes: tuple[tuple[int, int], ...]
    """(height, width), pixels."""
    grids: tuple[tuple[FeatureGrid, ...], ...]
    unreadable: tuple[Unreadable, ...]

    @property
    def count(self) -> int:
        """Files looked at, readable or not."""
        return len(self.files) + len(self.unreadable)

    @classmethod
    def joined(cls, batches: Sequence["Looked"]) -> "Looked":
        """All batches as one."""
        return cls(
            files=tuple(file for batch in batches for file in batch.files),
            sizes=tuple(size for batch in batches for size in batch.sizes),
            grids=tuple(grids for batch in batches for grids in batch.grids),
            unreadable=tuple(each for batch in batches for each in batch.unreadable),
        )


def look_at(files: Sequence[PictureFile], recipe: Recipe, engine: Engine) -> Iterator[Looked]:
    """Decode and extract, batch by batch, in order; what cannot be inspected is named instead."""
    with ThreadPoolExecutor(DECODE_THREADS, thread_name_prefix="decode") as decoders:
        for start in range(0, len(files), BATCH):
            batch = files[start : start + BATCH]
            decoded = list(zip(batch, decoders.map(_decode, batch), strict=True))
            good = [(file, picture) for file, picture in decoded if not isinstance(picture, Problem)]
            yield Looked(
                files=tuple(file for file, _ in good),
                sizes=tuple((picture.shape[0], picture.shape[1]) for _, picture in good),
                grids=tuple(extract([picture for _, picture in good], recipe, engine)),
                unreadable=tuple(Unreadable(file.name, str(why)) for file, why in decoded if isinstance(why, Problem)),
            )


def look_at_all(stage: str, files: Sequence[PictureFile], recipe: Recipe, engine: Engine, progress: Progress) -> Looked:
    """`look_at` to the end, telling `progress` as `stage`."""
    batches = []
    done = 0
    for batch in look_at(files, recipe, engine):
        batches.append(batch)
        done += batch.count
        progress(stage, done, len(files))
    return Looked.joined(batches)


def sort_out(
    stage: str, where: object, files: Sequence[PictureFile], progress: Progress
) -> tuple[Distinct, tuple[Unreadable, ...]]:
    """The files that can be inspected, each once, and the others with what is wrong.

    Only the first are drawn from and split by lot, so a file that is left out changes nothing.

    Args:
        stage: what `progress` is told.
        where: they lie, for messages.
        files: to look into; none is fine.
        progress: told how far reading is.

    Raises:
        NoPictures: not one of them can be inspected.
    """
    good: list[PictureFile] = []
    unreadable: list[Unreadable] = []
    with ThreadPoolExecutor(DECODE_THREADS, thread_name_prefix="decode") as decoders:
        for done, (file, problem) in enumerate(zip(files, decoders.map(_problem, files), strict=True), start=1):
            if problem is None:
                good.append(file)
            else:
                unreadable.append(Unreadable(file.name, str(problem)))
            progress(stage, done, len(files))
    if files and not good:
        raise NoPictures(f"not one of {len(files)} pictures in {where} can be read: {unreadable[0].why}")
    return Distinct.of(good), tuple(unreadable)


def _problem(file: PictureFile) -> Problem | None:
    picture = _decode(file)
    return picture if isinstance(picture, Problem) else None


def _decode(file: PictureFile) -> AsStored | Problem:
    try:
        return decode_as_stored(file.read())
    except (PictureError, UnreadableFile) as error:
        return error
