"""Folders of pictures, the groups they belong to, and the masks that mirror them."""

import csv
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from services.trainer.errors import NoPictures, UnreadableFile, UnusableGroups, UnusableMasks
from shared.file_names import readable
from shared.vision.picture_files import LOSSY_SUFFIXES, PICTURE_SUFFIXES

MASK_STEMS = ("{}", "{}_mask")  # beside the plain stem, the convention of MVTec AD and its followers


@dataclass(frozen=True, slots=True)
class PictureFile:
    """One encoded picture on disk."""

    path: Path
    name: str
    """Path below the folder that was walked, with forward slashes; readable, and of no other file in it."""

    @property
    def bare_name(self) -> str:
        """Without its folders."""
        return self.name.rpartition("/")[2]

    def read(self) -> bytes:
        """The encoded picture.

        Raises:
            UnreadableFile: the system does not give it.
        """
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise UnreadableFile(f"the file {self.name} cannot be read ({error.strerror or error})") from error


def find_pictures(folder: Path) -> tuple[PictureFile, ...]:
    """Every picture below `folder`, by suffix, sorted by name; hidden files and folders are left out.

    Raises:
        NoPictures: the folder is not there or has none.
        UnreadableFile: a folder in it cannot be looked into.
    """
    if not folder.is_dir():
        raise NoPictures(f"{folder} is not a folder: give one with pictures in it")
    paths = list(_walk(folder))
    if not paths:
        raise NoPictures(f"{folder} has no picture ({', '.join(sorted(PICTURE_SUFFIXES))}) in it or below it")
    found: dict[str, PictureFile] = {}
    for path in sorted(paths, key=lambda path: path.relative_to(folder).as_posix()):
        name = readable(path.relative_to(folder).as_posix())
        while name in found:  # another file's name says in letters what this one's bytes are written as
            name = f"{name}~"
        found[name] = PictureFile(path, name)
    return tuple(sorted(found.values(), key=lambda picture: picture.name))


def kind_of(picture: PictureFile) -> str:
    """The kind of defect that a first-level subfolder names; empty for a picture right in its folder."""
    kind, separator, _ = picture.name.partition("/")
    return kind if separator else ""


def read_groups(table: Path | None, pictures: Sequence[PictureFile]) -> tuple[str, ...] | None:
    """The group of each picture, from a CSV with the columns ``file`` and ``group``; None without one.

    ``file`` is the picture's path below its folder, or its bare file name.

    Raises:
        UnusableGroups: the file cannot be read, lacks a column, contradicts itself, or leaves a picture out.
    """
    if table is None:
        return None
    by_file = read_group_table(table)
    groups = [_named(by_file, picture.name) or _named(by_file, picture.bare_name) or "" for picture in pictures]
    missing = [picture.name for picture, group in zip(pictures, groups, strict=True) if not group]
    if missing:
        raise UnusableGroups(
            f"{table} gives no group for {len(missing)} of {len(pictures)} pictures, for instance {missing[0]}: add "
            "them"
        )
    return tuple(groups)


def each_alone(pictures: Sequence[PictureFile]) -> tuple[str, ...]:
    """A group for each picture, as `groups_of_abnormals` names those that a table leaves out."""
    return tuple(f"file {picture.name}" for picture in pictures)


def groups_of_abnormals(
    table: Path | None, pictures: Sequence[PictureFile], normals: Sequence[PictureFile]
) -> tuple[str, ...] | None:
    """Each defective picture's group, its own where the table does not name it; None where it names none.

    A bare file name names the one picture that is called so among defective and good ones. Where it is another's too
    (``good/001.png``, ``crack/001.png``), only a path below its folder names a defective one.

    Raises:
        UnusableGroups: the table cannot be read, lacks a column or contradicts itself.
    """
    by_file = read_group_table(table) if table else {}
    called = Counter(_comparable(picture.bare_name) for picture in (*pictures, *normals))
    named = [
        (_named(by_file, picture.name) if "/" in picture.name else None)
        or (_named(by_file, picture.bare_name) if called[_comparable(picture.bare_name)] == 1 else None)
        for picture in pictures
    ]
    if not any(named):
        return None
    return tuple(group or alone for group, alone in zip(named, each_alone(pictures), strict=True))


def read_group_table(table: Path) -> dict[str, str]:
    """A CSV with the columns ``file`` and ``group``, as it stands: group by file.

    Raises:
        UnusableGroups: the file cannot be read, lacks a column or contradicts itself.
    """
    by_file: dict[str, str] = {}
    try:
        with table.open(newline="", encoding="utf-8-sig") as lines:
            rows = csv.DictReader(lines, skipinitialspace=True)
            rows.fieldnames = [column.strip() for column in rows.fieldnames or ()]
            _refuse_columns(table, rows.fieldnames)
            for row in rows:
                file, group = _comparable((row["file"] or "").strip()), (row["group"] or "").strip()
                if by_file.setdefault(file, group) != group:
                    raise UnusableGroups(f"{table} puts {file} into the groups {by_file[file]} and {group}: keep one")
    except OSError as error:
        raise UnusableGroups(f"cannot read the groups in {table}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UnusableGroups(f"cannot read the groups in {table} ({error}): save it as UTF-8") from error
    except csv.Error as error:
        raise UnusableGroups(f"cannot read the groups in {table}: {error}") from error
    return by_file


def _named(by_file: dict[str, str], name: str) -> str | None:
    return by_file.get(_comparable(name))


def _comparable(name: str) -> str:
    """A file's name, the same whatever system wrote it: one parts folders by a backslash, another letters from dots."""
    return unicodedata.normalize("NFC", name.replace("\\", "/"))


def _refuse_columns(table: Path, columns: Sequence[str] | None) -> None:
    if not columns:
        raise UnusableGroups(f"{table} is empty: its first line must be file,group")
    if {"file", "group"} <= set(columns):
        return
    other = next((mark for mark in (";", "\t", "|") if mark in columns[0]), None)
    if other and {"file", "group"} <= {column.strip() for column in columns[0].split(other)}:
        raise UnusableGroups(f"{table} separates its columns by {other!r}: it needs commas, as in file,group")
    raise UnusableGroups(f"{table} has the columns {', '.join(columns)}: it needs 'file' and 'group'")


def find_masks(folder: Path, pictures: Sequence[PictureFile]) -> tuple[Path | None, ...]:
    """Each picture's mask: same path below `folder`, same stem (or ``<stem>_mask``), any picture suffix.

    Raises:
        UnusableMasks: the folder is not there, or not one picture has a mask.
        UnreadableFile: a folder in it cannot be looked into.
    """
    if not folder.is_dir():
        raise UnusableMasks(f"{folder} is not a folder: give one whose tree mirrors the defective pictures")
    masks = {
        _comparable(readable(path.relative_to(folder).with_suffix("").as_posix())): path
        for path in sorted(_walk(folder))
    }
    found = tuple(_mask_of(picture, masks) for picture in pictures)
    if not any(found):
        raise UnusableMasks(
            f"no mask below {folder} mirrors a defective picture: {pictures[0].name} would have "
            f"{Path(pictures[0].name).with_suffix('.png').as_posix()}"
        )
    return found


def read_mask(path: Path, height: int, width: int) -> NDArray[np.bool_]:
    """(height, width) bool: what is not black is defective (in lossy formats, what is nearer to white), unless it is
    transparent.

    It lies as pictures do (`shared.vision.picture`), and is stretched to the picture's size where it has another; of a
    larger one nothing is lost.

    Raises:
        UnusableMasks: the file cannot be read, or is no picture.
    """
    return np.ascontiguousarray(_stretched(_stretched(read_drawn(path), height).T, width).T)


def read_drawn(path: Path) -> NDArray[np.bool_]:
    """(height, width) bool of a mask at its own size, else as `read_mask`.

    Raises:
        UnusableMasks: the file cannot be read, or is no picture.
    """
    lossy = path.suffix.lower() in LOSSY_SUFFIXES
    # As grey, labels of 16 bits and dark colours would be black; noise has all colours.
    channels = cv2.IMREAD_GRAYSCALE if lossy else cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR
    try:
        encoded = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise UnusableMasks(f"the mask {path} cannot be read ({error.strerror or error}): allow it") from error
    pixels = cv2.imdecode(encoded, channels | cv2.IMREAD_IGNORE_ORIENTATION) if len(encoded) else None
    if pixels is None:
        raise UnusableMasks(f"the mask {path} cannot be decoded: replace it")
    above = 127 if lossy else 0
    defective = np.asarray(pixels > above)
    defective = np.asarray(defective.any(axis=2)) if defective.ndim == 3 else defective
    with_alpha = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
    if with_alpha is not None and with_alpha.ndim == 3 and with_alpha.shape[2] == 4:
        # Where nobody has drawn on a transparent layer, programs leave any colour, and many leave white.
        defective &= np.asarray(with_alpha[..., 3] > above)
    return defective


def _stretched(drawn: NDArray[np.bool_], rows: int) -> NDArray[np.bool_]:
    """(h, w) to (rows, w): each row is where its middle lies; of several in one place any defect counts."""
    if len(drawn) == rows:
        return drawn
    if len(drawn) < rows:
        return drawn[(2 * np.arange(rows) + 1) * len(drawn) // (2 * rows)]
    places = (2 * np.arange(len(drawn)) + 1) * rows // (2 * len(drawn))
    return np.logical_or.reduceat(drawn, np.searchsorted(places, np.arange(rows)))


def _mask_of(picture: PictureFile, masks: dict[str, Path]) -> Path | None:
    name = Path(picture.name)
    keys = (_comparable(name.with_name(stem.format(name.stem)).as_posix()) for stem in MASK_STEMS)
    return next((masks[key] for key in keys if key in masks), None)


def _walk(folder: Path) -> Iterator[Path]:
    """Files below a folder with a picture's suffix; links to folders are followed, each but once."""
    entered: set[str] = set()
    for parent, subfolders, names in os.walk(folder, onerror=_refuse_closed, followlinks=True):
        if (place := os.path.realpath(parent)) in entered:
            subfolders.clear()
            continue
        entered.add(place)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        paths = (Path(parent, name) for name in names if not name.startswith("."))
        yield from (path for path in paths if path.suffix.lower() in PICTURE_SUFFIXES and _may_be_file(path))


def _refuse_closed(error: OSError) -> None:
    raise UnreadableFile(
        f"the folder {error.filename} cannot be looked into ({error.strerror}): allow it, or leave it out"
    ) from error


def _may_be_file(path: Path) -> bool:
    """Whether it is one; where that cannot be told, reading it tells what is wrong."""
    try:
        return path.is_file()
    except OSError:
        return True
