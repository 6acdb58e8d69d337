"""Places that an evaluation's outcome is written to: tried before the work whose outcome it is."""

import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.trainer.errors import UnwritableOutput


def refuse_folder(what: str, folder: Path) -> None:
    """Raise where no file can be written into `folder`, which need not be there yet; nothing is left behind.

    Args:
        what: to call it in messages.
        folder: where to.

    Raises:
        UnwritableOutput: saying why.
    """
    if folder.exists() and not folder.is_dir():
        raise UnwritableOutput(f"the {what} cannot be written to {folder}, which is a file: name a folder")
    with told(what, folder):
        nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
        with tempfile.TemporaryDirectory(dir=nearest, prefix=".try-"):
            pass


def refuse_file(what: str, file: Path) -> None:
    """Raise where `file` cannot be written; what it holds stays.

    Args:
        what: to call it in messages.
        file: where to; its folder must be there.

    Raises:
        UnwritableOutput: saying why.
    """
    if file.is_dir():
        raise UnwritableOutput(f"the {what} cannot be written to {file}, which is a folder: name a file in it")
    with told(what, file):
        if file.exists():
            file.open("ab").close()
        with tempfile.TemporaryFile(dir=file.resolve().parent, prefix=".try-"):
            pass


def write_whole(file: Path, text: str) -> None:
    """Write `text` as UTF-8, all of it or nothing: what `file` held stays until the new content is there.

    Raises:
        OSError: it cannot be written.
    """
    place = file.resolve()  # a link stays one
    unfinished = place.with_name(f".unfinished-{uuid.uuid4().hex}")
    try:
        unfinished.write_bytes(text.encode())
        unfinished.replace(place)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def told(what: str, where: Path) -> Iterator[None]:
    """Around writing: what the system has to say becomes one sentence.

    Raises:
        UnwritableOutput: saying why.
    """
    try:
        yield
    except OSError as error:
        raise UnwritableOutput(
            f"the {what} cannot be written to {where}: {error.strerror or error}; name another place"
        ) from error
