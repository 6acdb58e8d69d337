"""The pictures in a folder, as the folder feed and the folder watch see them."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from shared.errors import ConfigurationError
from shared.vision.picture_files import PICTURE_SUFFIXES


@dataclass(frozen=True, slots=True)
class FolderContent:
    """What was found in a folder."""

    pictures: tuple[Path, ...]
    """Files with a picture's suffix, sorted by their path."""
    others: tuple[Path, ...]
    """Other files that are not hidden."""
    links: tuple[Path, ...]
    """To folders, which are not followed."""


def _refuse(error: OSError) -> None:
    raise ConfigurationError(f"{error.filename} cannot be read ({error.strerror}): allow it") from error


def look_into(
    folder: Path,
    *,
    except_below: frozenset[str] = frozenset(),
    on_unreadable: Callable[[OSError], None] = _refuse,
) -> FolderContent:
    """Every file below a folder but hidden ones; links to folders are not followed.

    Args:
        folder: where to look.
        except_below: names of direct subfolders to leave out.
        on_unreadable: told of each folder and file that cannot be looked at, which is left out; by default it ends the
            look with a `ConfigurationError`.

    Raises:
        ConfigurationError: there is no such folder.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"{folder} is no folder: give one that holds pictures")
    links: list[Path] = []
    found = _files(folder, except_below, on_unreadable, links)
    files = sorted(found, key=lambda path: path.relative_to(folder).as_posix())
    pictures = tuple(path for path in files if path.suffix.lower() in PICTURE_SUFFIXES)
    others = tuple(path for path in files if path.suffix.lower() not in PICTURE_SUFFIXES)
    return FolderContent(pictures, others, tuple(sorted(links)))


def _files(
    folder: Path, except_below: frozenset[str], on_unreadable: Callable[[OSError], None], links: list[Path]
) -> Iterator[Path]:
    """Files below a folder; links to folders are added to `links`."""
    for parent, subfolders, names in os.walk(folder, onerror=on_unreadable):
        leave_out = except_below if Path(parent) == folder else frozenset[str]()
        subfolders[:] = [name for name in subfolders if not name.startswith(".") and name not in leave_out]
        links += (path for name in subfolders if (path := Path(parent, name)).is_symlink())
        for name in names:
            path = Path(parent, name)
            try:
                is_seen = not name.startswith(".") and path.is_file()
            except OSError as error:  # a folder whose names can be listed, and nothing more
                on_unreadable(error)
                continue
            if is_seen:
                yield path
