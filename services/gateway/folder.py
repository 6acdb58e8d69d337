"""The pictures in a folder, as the folder feed and the folder watch see them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shared.errors import ConfigurationError

# What cameras and tools write, and GIF so that one in the folder is judged (and refused by name) instead of overlooked.
PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif"}
)


@dataclass(frozen=True, slots=True)
class FolderContent:
    """What was found in a folder."""

    pictures: tuple[Path, ...]
    """Files with a picture's suffix, sorted by their path."""
    others: tuple[Path, ...]
    """Other files that are not hidden."""


def look_into(folder: Path, *, except_below: frozenset[str] = frozenset()) -> FolderContent:
    """Every file below a folder but hidden ones; links to folders are not followed.

    Args:
        folder: where to look.
        except_below: names of direct subfolders to leave out.

    Raises:
        ConfigurationError: there is no such folder, or it cannot be read.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"{folder} is no folder: give one that holds pictures")
    files = sorted(_files(folder, except_below), key=lambda path: path.relative_to(folder).as_posix())
    pictures = tuple(path for path in files if path.suffix.lower() in PICTURE_SUFFIXES)
    return FolderContent(pictures, tuple(path for path in files if path.suffix.lower() not in PICTURE_SUFFIXES))


def _files(folder: Path, except_below: frozenset[str]) -> Iterator[Path]:
    def unreadable(error: OSError) -> None:
        raise ConfigurationError(f"{error.filename} cannot be read ({error.strerror}): allow it") from error

    for parent, subfolders, names in os.walk(folder, onerror=unreadable):
        leave_out = except_below if Path(parent) == folder else frozenset[str]()
        subfolders[:] = [name for name in subfolders if not name.startswith(".") and name not in leave_out]
        for name in names:
            path = Path(parent, name)
            if not name.startswith(".") and path.is_file():
                yield path
