"""Takes in the pictures of a folder as they appear there, each once.

A camera's software must write a picture under another name (hidden, or without a picture's suffix) and rename it when
it is whole; then what can be seen is complete. A picture goes to ``done/`` after Kafka has acknowledged it, and to
``refused/`` where it cannot be sent at all. After a crash in between it is sent again, under the same event id.
"""

import threading
import uuid
from datetime import UTC, datetime
from pathlib import Path

import structlog

from services.gateway.capture import capture, identify
from services.gateway.errors import GatewayError, reason_of
from services.gateway.folder import look_into
from services.gateway.producer import ImageProducer
from shared import telemetry
from shared.errors import ConfigurationError, NotReady
from shared.events import ImageCaptured

DONE, REFUSED = "done", "refused"
SOURCE = "folder"  # in the metrics
# Names of events made from a file, apart from everything else that makes names of this kind.
EVENTS = uuid.UUID("6f7f9d0b-2c1e-4b43-9f52-0d8c1f3c6a11")

log = structlog.get_logger(__name__)


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
        self._settled: set[tuple[Path, int]] = set()  # files that were dealt with and could not be moved
        if not folder.is_dir():
            raise ConfigurationError(f"{folder} is no folder: correct CHIPSIEVE_GATEWAY__WATCH_DIR")
        for name in (DONE, REFUSED):
            try:
                (folder / name).mkdir(exist_ok=True)
            except OSError as error:
                raise ConfigurationError(f"{folder / name} cannot be made ({error.strerror}): allow it") from error

    def run(self, stopped: threading.Event, interval_s: float) -> None:
        """Sweep until told to stop; what goes wrong is logged and tried again."""
        while not stopped.is_set():
            try:
                self.sweep(stopped)
            except (NotReady, ConfigurationError, OSError) as error:
                log.warning("folder_postponed", folder=str(self._folder), reason=str(error))
            stopped.wait(interval_s)

    def sweep(self, stopped: threading.Event | None = None) -> int:
        """Take in what is there now, oldest first; how many pictures were stored.

        One at a time, each acknowledged before the next, so that an outage cannot change their order.

        Raises:
            NotReady: broker or registry cannot take the next picture now.
        """
        stored = 0
        modified = {path: path.stat().st_mtime_ns for path in self._pictures()}
        for path in sorted(modified, key=lambda path: (modified[path], path)):
            if stopped is not None and stopped.is_set():
                break
            if (path, modified[path]) in self._settled:
                continue
            name = path.relative_to(self._folder).as_posix()
            try:
                event = self._event(path, name, modified[path])
                self._producer.publish(event).result()
            except GatewayError as error:
                telemetry.IMAGES.labels(SOURCE, reason_of(error)).inc()
                log.error("picture_refused", file=name, line_id=self._line_id, reason=str(error))
                self._move(path, REFUSED, modified[path])
            else:
                telemetry.IMAGES.labels(SOURCE, "STORED").inc()
                stored += 1
                self._move(path, DONE, modified[path])
        return stored

    def _pictures(self) -> tuple[Path, ...]:
        return look_into(self._folder, except_below=frozenset({DONE, REFUSED})).pictures

    def _event(self, path: Path, name: str, modified_ns: int) -> ImageCaptured:
        with path.open("rb") as file:
            data = file.read(self._producer.max_image_bytes + 1)
        identity = identify(
            line_id=self._line_id,
            product=self._product,
            chip_id=name,
            event_id=uuid.uuid5(EVENTS, f"{self._line_id}\n{self._folder.resolve()}\n{name}\n{modified_ns}").hex,
            captured_at=datetime.fromtimestamp(modified_ns / 1e9, UTC),
            deadline_ms=self._deadline_ms,
        )
        return capture(identity, data, max_image_bytes=self._producer.max_image_bytes)

    def _move(self, path: Path, into: str, modified_ns: int) -> None:
        target = self._folder / into / path.relative_to(self._folder)
        if target.exists():
            target = target.with_name(f"{target.stem}-{modified_ns}{target.suffix}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
        except OSError as error:
            self._settled.add((path, modified_ns))
            log.error("picture_not_moved", file=str(path), target=str(target), reason=str(error))
