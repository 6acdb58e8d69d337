import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from services.gateway.watch import FolderWatch
from shared.kafka import BrokerUnavailable
from shared.logs import configure_logs
from shared.settings import LogSettings
from shared.wire.errors import UnwritableEvent
from tests.unit.gateway.doubles import FakeProducer
from tests.unit.gateway.watched import StopsTheWatch, files, put, watch

NO_UTF8 = os.fsdecode(b"pr\xfcfling.png")  # as a camera names it that writes Latin-1


def refused(reason: str) -> float:
    return REGISTRY.get_sample_value("chipsieve_images_total", {"source": "folder", "outcome": reason}) or 0.0


def test_a_name_that_is_no_utf8_is_refused_and_does_not_hold_up_the_next(tmp_path: Path) -> None:
    put(tmp_path, NO_UTF8, modified=1)
    put(tmp_path, "2.png", modified=2)
    before = refused("INVALID_IDENTITY")
    with capture_logs() as logs:
        assert watch(tmp_path, FakeProducer()).sweep() == 1
    assert files(tmp_path) == ["done/2.png", f"refused/{NO_UTF8}"]
    assert [(line["event"], line["file"]) for line in logs] == [("picture_refused", r"pr\udcfcfling.png")]
    assert refused("INVALID_IDENTITY") == before + 1


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_name_that_is_no_utf8_can_be_logged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, log_format: str
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied", str(self), None, str(target))

    monkeypatch.setattr(Path, "replace", refuse)
    put(tmp_path, NO_UTF8)
    configure_logs(LogSettings(format=log_format))
    watch(tmp_path, FakeProducer()).sweep()
    logged = capsys.readouterr().err.encode()  # UTF-8, strictly
    assert b"picture_refused" in logged
    assert b"picture_not_moved" in logged


def test_pictures_of_a_folder_whose_own_name_is_no_utf8_are_taken_in(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"stra\xdfe")
    put(folder, "1.png")
    assert watch(folder, FakeProducer()).sweep() == 1


def test_a_path_that_is_too_long_for_a_chips_id_is_refused(tmp_path: Path) -> None:
    put(tmp_path, f"{'a' * 200}/{'b' * 200}/{'c' * 200}.png", modified=1)
    put(tmp_path, "2.png", modified=2)
    with capture_logs() as logs:
        assert watch(tmp_path, FakeProducer()).sweep() == 1
    assert files(tmp_path) == ["done/2.png", f"refused/{'a' * 200}/{'b' * 200}/{'c' * 200}.png"]
    assert [line["reason"] for line in logs] == ["chip has 606 characters: use at most 500"]


def test_a_picture_whose_refused_path_is_too_long_stays_and_does_not_hold_up_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_long(self: Path) -> bool:
        raise OSError(36, "File name too long")

    put(tmp_path, NO_UTF8, modified=1)
    put(tmp_path, "2.png", modified=2)
    watched = watch(tmp_path, FakeProducer())
    monkeypatch.setattr(Path, "exists", too_long)
    assert [watched.sweep(), watched.sweep()] == [1, 0]
    assert files(tmp_path) == ["2.png", NO_UTF8]


@pytest.mark.parametrize("year", [3237, 14_645])  # one that is told, and one that datetime cannot tell
def test_a_picture_from_the_far_future_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, year: int) -> None:
    path = put(tmp_path, "1.png")
    put(tmp_path, "2.png")
    really_stat, really_fstat, inode = Path.stat, os.fstat, path.stat().st_ino

    def of(found: os.stat_result) -> Any:  # not every file system keeps such a time
        if found.st_ino != inode:
            return found
        return SimpleNamespace(st_mode=found.st_mode, st_mtime_ns=(year - 1970) * 31_556_952 * 10**9, st_ino=inode)

    monkeypatch.setattr(Path, "stat", lambda path, **options: of(really_stat(path, **options)))
    monkeypatch.setattr(os, "fstat", lambda descriptor: of(really_fstat(descriptor)))
    assert watch(tmp_path, FakeProducer(), deadline_ms=500).sweep() == 1
    assert files(tmp_path) == ["done/2.png", "refused/1.png"]


def test_a_picture_whose_event_cannot_be_written_is_refused(tmp_path: Path) -> None:
    producer = FakeProducer()
    producer.busy = [UnwritableEvent("text that is not Unicode")]
    put(tmp_path, "1.png", modified=1)
    put(tmp_path, "2.png", modified=2)
    assert watch(tmp_path, producer).sweep() == 1
    assert files(tmp_path) == ["done/2.png", "refused/1.png"]


class Locked:
    """Files that cannot be opened, each for a reason of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.because: dict[str, Exception] = {}
        really_open = Path.open

        def open_if_allowed(path: Path, *arguments: Any, **named: Any) -> Any:
            if error := self.because.get(path.name):
                raise error
            return really_open(path, *arguments, **named)

        monkeypatch.setattr(Path, "open", open_if_allowed)


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> Locked:
    return Locked(monkeypatch)


def test_a_picture_that_cannot_be_read_now_is_tried_again_and_does_not_hold_up_the_others(
    tmp_path: Path, locked: Locked
) -> None:
    producer = FakeProducer()
    watched = watch(tmp_path, producer)
    for number in range(4):
        put(tmp_path, f"{number}.png", modified=number)
    locked.because["1.png"] = PermissionError(13, "Permission denied")
    assert watched.sweep() == 3
    assert files(tmp_path) == ["1.png", "done/0.png", "done/2.png", "done/3.png"]
    locked.because.clear()
    assert watched.sweep() == 1
    assert [event.chip_id for event in producer.published] == ["0.png", "2.png", "3.png", "1.png"]


def test_a_picture_that_cannot_be_read_is_logged_once_for_each_reason_that_there_is(
    tmp_path: Path, locked: Locked
) -> None:
    watched = watch(tmp_path, FakeProducer())
    put(tmp_path, "1.png")
    denied, broken = PermissionError(13, "Permission denied"), OSError(5, "Input/output error")
    with capture_logs() as logs:
        for error in (denied, denied, broken, broken, denied):
            locked.because["1.png"] = error
            watched.sweep()
    assert [(line["event"], line["file"], line["reason"]) for line in logs] == [
        ("picture_postponed", str(tmp_path / "1.png"), str(error)) for error in (denied, broken, denied)
    ]


def test_whatever_a_file_does_to_the_watch_does_not_hold_up_the_others(tmp_path: Path, locked: Locked) -> None:
    put(tmp_path, "1.png", modified=1)
    put(tmp_path, "2.png", modified=2)
    locked.because["1.png"] = RuntimeError("nobody expects it")
    with capture_logs() as logs:
        assert watch(tmp_path, FakeProducer()).sweep() == 1
    (line,) = logs
    assert (line["event"], line["exc_info"]) == ("picture_postponed", locked.because["1.png"])


def test_a_picture_that_is_gone_before_it_is_looked_at_does_not_hold_up_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = put(tmp_path, "1.png", modified=1)
    put(tmp_path, "2.png", modified=2)
    really_stat = Path.stat
    looks: list[Path] = []

    def stat(path: Path, **options: bool) -> os.stat_result:
        if path == gone:
            looks.append(path)
            if len(looks) == 2:  # the first finds that it is a file
                gone.unlink()
        return really_stat(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    assert watch(tmp_path, FakeProducer()).sweep() == 1
    assert files(tmp_path) == ["done/2.png"]


def test_a_subfolder_that_cannot_be_read_does_not_hold_up_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "closed/1.png")
    put(tmp_path, "2.png")
    really_scan = os.scandir

    def scan(path: str) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", path)
        return really_scan(path)

    monkeypatch.setattr(os, "scandir", scan)
    watched = watch(tmp_path, FakeProducer())
    with capture_logs() as logs:
        assert [watched.sweep(), watched.sweep()] == [1, 0]
    assert [(line["event"], line["file"]) for line in logs] == [("picture_postponed", str(tmp_path / "closed"))]


def test_the_watch_goes_on_after_what_nobody_expected_and_logs_it_once_with_its_traceback(tmp_path: Path) -> None:
    stopped = threading.Event()
    producer = StopsTheWatch(stopped)
    producer.busy = [RuntimeError("nobody expects it") for _ in range(3)]
    put(tmp_path, "1.png")
    with capture_logs() as logs:
        watch(tmp_path, producer).run(stopped, interval_s=0.001)
    assert len(producer.published) == 1
    (line,) = logs
    assert (line["event"], line["log_level"]) == ("folder_postponed", "error")
    assert isinstance(line["exc_info"], RuntimeError)


def test_what_goes_wrong_again_after_it_went_well_is_told_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped, gone = threading.Event(), BrokerUnavailable("gone")
    outcomes = [None, gone, gone, None, gone]

    def sweep(_watch: FolderWatch, stopped: threading.Event) -> None:
        outcome = outcomes.pop(0)
        if not outcomes:
            stopped.set()
        if outcome is not None:
            raise outcome

    monkeypatch.setattr(FolderWatch, "sweep", sweep)
    with capture_logs() as logs:
        watch(tmp_path, FakeProducer()).run(stopped, interval_s=0.001)
    assert [line["event"] for line in logs] == ["folder_postponed"] * 2
