"""The folder of collected pictures, and the table of the verdicts on them."""

import csv
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2

from services.cli.collect.choice import lot
from services.cli.demo.contact_sheet import mark
from shared.errors import ConfigurationError, Uninspectable
from shared.events import ChipInspected
from shared.vision.picture import decode, probe

TABLE = "verdicts.csv"
COLUMNS = (
    "file",
    "verdict",
    "reason",
    "product",
    "line_id",
    "chip_id",
    "event_id",
    "captured_at",
    "inspected_at",
    "score",
    "threshold",
    "defect_kind",
    "bank_version",
)
OVERLAYS = "overlays"
NAME_BYTES = 60  # of each id in a file's name, of which file systems take 255
SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "BMP": ".bmp", "TIFF": ".tif", "WEBP": ".webp"}
NO_PICTURE = ".bin"  # what nobody could decode is kept as it came, and taken for a picture by no command


class Collection:
    """A folder of pictures by product and verdict, ``PRODUCT/reject/…``, with a row in `TABLE` for each.

    A chip has one place in it: who collects twice gets what is new, also where files were moved or deleted meanwhile.
    """

    def __init__(self, folder: Path) -> None:
        """Open the folder, which is made where it is not there.

        Raises `ConfigurationError` where it cannot be made or written, or its table is another one.
        """
        self.folder = folder
        self._table = folder / TABLE
        with _writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._known = self._open()

    def has(self, verdict: ChipInspected) -> bool:
        """Whether that verdict's picture was collected before."""
        return _stem(verdict) in self._known

    def add(self, verdict: ChipInspected, data: bytes, *, overlay: bool) -> Path:
        """Keep a picture as it came, and with `overlay` a copy with what was found drawn in.

        Returns where it lies. Raises `ConfigurationError` where it cannot be written.
        """
        place = Path(file_name(verdict.product), verdict.verdict.lower(), _stem(verdict) + _suffix(data))
        with _writing(self.folder):
            _write(self.folder / place, data)
            if overlay and (drawn := _drawn(verdict, data)):
                _write((self.folder / OVERLAYS / place).with_suffix(".png"), drawn)
            # Last: a picture without a row is collected anew, a row without a picture would never be.
            with self._table.open("a", newline="", encoding="utf-8") as table:
                csv.DictWriter(table, COLUMNS).writerow(_row(place, verdict))
        self._known.add(place.stem)
        return self.folder / place

    def _open(self) -> set[str]:
        with self._table.open("a+", newline="", encoding="utf-8") as table:
            table.seek(0)
            rows = csv.DictReader(table)
            if rows.fieldnames is None:
                csv.writer(table).writerow(COLUMNS)
            elif tuple(rows.fieldnames) != COLUMNS:
                raise ConfigurationError(
                    f"{self._table} has other columns than a table of collected pictures: name another folder"
                )
            return {Path(row["file"]).stem for row in rows}


def file_name(text: str) -> str:
    """An id as a part of a file's name: letters, digits and ``._+-`` alone, of `NAME_BYTES` at most."""
    plain = re.sub(r"[^\w.+-]|^\.", "_", text)
    return plain.encode()[:NAME_BYTES].decode(errors="ignore")


def _stem(verdict: ChipInspected) -> str:
    """Of that verdict on that chip alone, and in the order of time."""
    names = (file_name(each) for each in (verdict.line_id, verdict.chip_id))
    return "_".join((f"{verdict.captured_at:%Y%m%dT%H%M%S}", *names, f"{lot(verdict).hex()[:12]}"))


def _suffix(data: bytes) -> str:
    try:
        return SUFFIXES[probe(data, max_pixels=sys.maxsize).format]
    except Uninspectable:
        return NO_PICTURE


def _drawn(verdict: ChipInspected, data: bytes) -> bytes | None:
    """A PNG of the picture with what was found drawn in; None of what is no picture."""
    try:
        picture = decode(data)
    except Uninspectable:
        return None
    _, png = cv2.imencode(".png", cv2.cvtColor(mark(picture, verdict), cv2.COLOR_RGB2BGR))
    return png.tobytes()


def _row(place: Path, verdict: ChipInspected) -> dict[str, Any]:
    times = {
        name: getattr(verdict, name).isoformat(timespec="milliseconds") for name in ("captured_at", "inspected_at")
    }
    reason = verdict.uninspected and verdict.uninspected.reason
    return (
        {name: getattr(verdict, name, None) for name in COLUMNS} | times | {"file": place.as_posix(), "reason": reason}
    )


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(f"{error.filename or folder} cannot be written: {error.strerror}") from error
