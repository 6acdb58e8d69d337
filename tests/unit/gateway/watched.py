"""A folder that is watched, and pictures to put there."""

import os
import threading
from concurrent.futures import Future
from pathlib import Path

from services.gateway.producer import Stored
from services.gateway.watch import FolderWatch
from shared.events import ImageCaptured
from tests.unit.gateway.doubles import FakeProducer


class StopsTheWatch(FakeProducer):
    """Tells the watch to stop once it has taken a picture."""

    def __init__(self, stopped: threading.Event) -> None:
        super().__init__()
        self._stopped = stopped

    def publish(self, event: ImageCaptured) -> Future[Stored]:
        future = super().publish(event)
        self._stopped.set()
        return future


def watch(folder: Path, producer: FakeProducer, deadline_ms: int | None = None) -> FolderWatch:
    return FolderWatch(folder, line_id="line-1", product="qfn32", deadline_ms=deadline_ms, producer=producer)


def put(folder: Path, name: str, data: bytes = b"picture", *, modified: float = 1_000.0) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (modified, modified))
    return path


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
