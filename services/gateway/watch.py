"""Takes in the pictures of a folder as they appear there, each once.

A camera's software must write a picture under another name (hidden, or without a picture's suffix) and rename it when
it is whole; then what can be seen is complete. A picture goes to ``done/`` after Kafka has acknowledged it, and to
``refused/`` where it cannot be sent at all. After a crash in between it is sent again, under the same event id. One
that cannot be moved is not sent again while the process lives, and moved once that can be: left there, it would be sent
again after a restart, when nobody remembers that it was judged.

What is wrong with one file stops no other: one that cannot be read now is left where it is and tried again in the next
sweep. What stops them all, because it would change their order, is that broker or registry cannot take the next one.
"""

import hashlib
import itertools
import os
import threading
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Self

import structlog

from services.gateway.capture import capture, identify, is_ahead
from services.gateway.errors import GatewayError, InvalidIdentity, reason_of
from services.gateway.folder import look_into
from services.gateway.producer import ImageProducer
from shared import metrics
from shared.errors import ConfigurationError, NotReady
from shared.events import ImageCaptured
from shared.file_names import readable
from shared.wire.errors import UnwritableEvent

DONE, REFUSED = "done", "refused"
SOURCE = "folder"  # in the metrics
# Names of events made from a file, apart from everything else that makes names of this kind.
EVENTS = uuid.UUID("6f7f9d0b-2c1e-4b43-9f52-0d8c1f3c6a11")

log = structlog.get_logger(__name__)


class _Version(NamedTuple):
    """Tells a file from the next one that comes under its name."""

    modified_ns: int
    inode: int

    @classmethod
    def of(cls, found: os.stat_result) -> Self:
        return cls(found.st_mtime_ns, found.st_ino)


class FolderWatch:
    """One folder of one line.

    Args:
        folder: where pictures appear; ``done`` and ``refused`` are made in it.
        line_id: the line they come from.
        product: the product they show.
        deadline_ms: verdicts are due this long after a picture was written; None sets no deadline.
        producer: where they go.

    Raises:
        ConfigurationError: the folder is not there, or pictures cannot be moved in it.
    """

    def __init__(
        self, folder: Path, *, line_id: str, product: str, deadline_ms: int | None, producer: ImageProducer
    ) -> None:
        self._folder = folder
        self._line_id = line_id
        self._product = product
        self._deadline_ms = deadline_ms
        self._producer = producer
        self._unmoved: dict[tuple[Path, _Version], tuple[str, str]] = {}
        """Files that were dealt with and could not be moved → where to, and why not."""
        self._complaints = _Complaints()
        try:
            is_there = folder.is_dir()
        except OSError as error:
            raise ConfigurationError(
                f"CHIPSIEVE_GATEWAY__WATCH_DIR is {folder}, which cannot be looked at ({error.strerror}): allow it"
            ) from error
        if not is_there:
            raise ConfigurationError(f"{folder} is no folder: correct CHIPSIEVE_GATEWAY__WATCH_DIR")
        for name in (DONE, REFUSED):
            try:
                (folder / name).mkdir(exist_ok=True)
            except OSError as error:
                raise ConfigurationError(f"{folder / name} cannot be made ({error.strerror}): allow it") from error
            if (folder / name).stat().st_dev != folder.stat().st_dev:
                raise ConfigurationError(
                    f"{folder / name} is on another file system than {folder}, and no picture can be moved there: make "
                    "it a folder of the same"
                )
        for path in (folder, folder / DONE, folder / REFUSED):
            if not os.access(path, os.W_OK | os.X_OK):
                raise ConfigurationError(f"{path} cannot be written to, and no picture can be moved: allow it")

    def run(self, stopped: threading.Event, interval_s: float) -> None:
        """Sweep until told to stop; what goes wrong is logged, once while it stays the same, and tried again."""
        told: str | None = None
        while not stopped.is_set():
            reason = None
            try:
                self.sweep(stopped)
            except Exception as error:  # whatever it is, the next sweep may go well
                reason = repr(error)
                if reason != told:
                    _tell("folder_postponed", error, folder=self._folder)
            told = reason
            stopped.wait(interval_s)

    def sweep(self, stopped: threading.Event | None = None) -> int:
        """Take in what is there now, oldest first; how many pictures were stored.

        One at a time, each acknowledged before the next, so that an outage cannot change their order.

        Raises:
            NotReady: broker or registry cannot take the next picture now.
            ConfigurationError: the folder is gone.
        """
        stored = 0
        self._complaints.begin()
        there = self._there()
        for path in sorted(there, key=lambda path: (there[path].modified_ns, path)):
            if stopped is not None and stopped.is_set():
                break
            if (path, there[path]) not in self._unmoved:
                stored += self._take_in(path)
        self._move_again(there)
        return stored

    def _there(self) -> dict[Path, _Version]:
        """The pictures that are there."""
        found = look_into(self._folder, except_below=frozenset({DONE, REFUSED}), on_unreadable=self._unreadable)
        there = {}
        for path in found.pictures:
            try:
                there[path] = _Version.of(path.stat())
            except OSError as error:
                self._postpone(path, error)
        return there

    def _take_in(self, path: Path) -> bool:
        """Whether a picture was stored; it was moved, or stays for the next sweep."""
        try:
            with path.open("rb") as file:
                # Of what is read: another may have come under its name since the folder was looked into.
                version = _Version.of(os.fstat(file.fileno()))
                data = file.read(self._producer.max_image_bytes + 1)
            try:
                event = self._event(path, version, data)
            except GatewayError as error:
                self._refuse(path, version, error)
                return False
        except Exception as error:  # whatever it is, it is this file's alone: nothing was asked of anyone else
            self._postpone(path, error)
            return False
        ahead = is_ahead(event.captured_at, datetime.now(UTC))
        try:
            self._producer.publish(event).result()
        except (GatewayError, UnwritableEvent) as error:
            self._refuse(path, version, error)
            return False
        metrics.IMAGES.labels(SOURCE, "STORED").inc()
        if ahead:  # once a picture, however often it is tried
            metrics.CLOCK_AHEAD.labels(SOURCE, self._line_id).inc()
        self._move(path, DONE, version)
        return True

    def _event(self, path: Path, version: _Version, data: bytes) -> ImageCaptured:
        name = path.relative_to(self._folder).as_posix()
        identity = identify(
            line_id=self._line_id,
            product=self._product,
            chip_id=name,
            event_id=self._event_id(name, version.modified_ns, data),
            captured_at=_written_at(version.modified_ns),
            deadline_ms=self._deadline_ms,
        )
        return capture(identity, data, max_image_bytes=self._producer.max_image_bytes)

    def _event_id(self, name: str, modified_ns: int, data: bytes) -> str:
        """The same for a file each time; readable, since the folder above may have a name that is no UTF-8.

        Not from its name and time alone: where a camera's clock begins anew with its names, or a file system keeps
        whole seconds, another picture may share both, and would be taken for one that was judged.
        """
        digest = hashlib.sha256(data).hexdigest()
        named = f"{self._line_id}\n{self._folder.resolve()}\n{name}\n{modified_ns}\n{digest}"
        return uuid.uuid5(EVENTS, readable(named)).hex

    def _refuse(self, path: Path, version: _Version, error: Exception) -> None:
        metrics.IMAGES.labels(SOURCE, reason_of(error)).inc()
        name = readable(path.relative_to(self._folder).as_posix())
        log.error("picture_refused", file=name, line_id=self._line_id, reason=readable(str(error)))
        self._move(path, REFUSED, version)

    def _postpone(self, path: Path, error: Exception) -> None:
        if self._complaints.is_new(path, error):
            _tell("picture_postponed", error, file=path)

    def _unreadable(self, error: OSError) -> None:
        self._postpone(Path(error.filename), error)

    def _move(self, path: Path, into: str, version: _Version, *, told: str | None = None) -> bool:
        """Whether nothing is left to move; else it is tried again. `told` is what stood in the way of that before.

        What came under its name meanwhile is another picture, which nobody has: it stays for the next sweep.
        """
        target = self._folder / into / path.relative_to(self._folder)
        try:
            target = next(path for path in _names(target, version) if not path.exists())
            target.parent.mkdir(parents=True, exist_ok=True)
            if _Version.of(path.stat()) == version:
                path.replace(target)
        except OSError as error:
            reason = readable(str(error))
            self._unmoved[path, version] = into, reason
            if reason != told:
                log.error("picture_not_moved", file=readable(str(path)), target=readable(str(target)), reason=reason)
            return False
        return True

    def _move_again(self, there: Mapping[Path, _Version]) -> None:
        """Move what could not be. Where that fails, the next sweep goes on with another: new pictures must not wait."""
        for (path, version), (into, told) in list(self._unmoved.items()):
            if path not in there and not _is_gone(path):  # it cannot be looked at now
                continue
            del self._unmoved[path, version]
            if there.get(path) == version and not self._move(path, into, version, told=told):
                break


class _Complaints:
    """What is wrong with which file in this sweep and was in the one before, to be told once and not in each."""

    def __init__(self) -> None:
        self._before: dict[Path, str] = {}
        self._now: dict[Path, str] = {}

    def begin(self) -> None:
        """A sweep begins."""
        self._before, self._now = self._now, {}

    def is_new(self, path: Path, error: Exception) -> bool:
        """Whether the sweep before did not find the same; notes it for the next."""
        self._now[path] = repr(error)
        return self._before.get(path) != self._now[path]


def _names(target: Path, version: _Version) -> Iterator[Path]:
    """Its own name, one with its time, then others without end: a camera's clock may begin anew with its names."""
    yield target
    timed = f"{target.stem}-{version.modified_ns}"
    yield target.with_name(f"{timed}{target.suffix}")
    yield from (target.with_name(f"{timed}-{number}{target.suffix}") for number in itertools.count(2))


def _is_gone(path: Path) -> bool:
    """Whether somebody took a file away."""
    try:
        path.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        pass
    return False


def _tell(event: str, error: Exception, **about: Path) -> None:
    """Log what is tried again; with its traceback where nobody expects it."""
    what = {name: readable(str(path)) for name, path in about.items()}
    if isinstance(error, NotReady | ConfigurationError | OSError):
        log.warning(event, **what, reason=readable(str(error)))
    else:
        log.error(event, **what, reason=readable(repr(error)), exc_info=error)


def _written_at(modified_ns: int) -> datetime:
    try:
        return datetime.fromtimestamp(modified_ns / 1e9, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidIdentity(f"it was written {modified_ns} ns after 1970: set the clock it comes from") from error
