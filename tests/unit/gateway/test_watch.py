import os
import threading
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from services.gateway.producer import Stored
from shared.errors import ConfigurationError
from shared.events import ImageCaptured
from shared.kafka import BrokerUnavailable
from shared.wire.errors import UnwritableEvent
from tests.unit.gateway.doubles import FakeProducer
from tests.unit.gateway.watched import StopsTheWatch, files, put, watch


def test_a_picture_is_taken_in_once_and_kept_among_the_done(tmp_path: Path) -> None:
    def stored() -> float:
        return REGISTRY.get_sample_value("chipsieve_images_total", {"source": "folder", "outcome": "STORED"}) or 0.0

    before, producer = stored(), FakeProducer()
    watched = watch(tmp_path, producer)
    put(tmp_path, "tray/1.png")
    assert [watched.sweep(), watched.sweep()] == [1, 0]
    assert stored() == before + 1
    assert [event.chip_id for event in producer.published] == ["tray/1.png"]
    assert files(tmp_path) == ["done/tray/1.png"]


def test_pictures_are_taken_in_by_age(tmp_path: Path) -> None:
    producer = FakeProducer()
    put(tmp_path, "a.png", modified=3)
    put(tmp_path, "b.png", modified=1)
    put(tmp_path, "c.png", modified=2)
    watch(tmp_path, producer).sweep()
    assert [event.chip_id for event in producer.published] == ["b.png", "c.png", "a.png"]


def test_a_picture_that_is_still_written_under_another_name_is_left_alone(tmp_path: Path) -> None:
    put(tmp_path, ".1.png")
    put(tmp_path, "2.png.part")
    assert watch(tmp_path, FakeProducer()).sweep() == 0
    assert files(tmp_path) == [".1.png", "2.png.part"]


def test_a_picture_is_as_old_as_its_file_and_its_deadline_counts_from_there(tmp_path: Path) -> None:
    producer = FakeProducer()
    put(tmp_path, "1.png", modified=1_767_225_600)
    watch(tmp_path, producer, deadline_ms=500).sweep()
    (event,) = producer.published
    assert event.captured_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert event.verdict_by == event.captured_at + timedelta(milliseconds=500)


def test_a_picture_stays_until_kafka_has_it_and_comes_again_under_the_same_event(tmp_path: Path) -> None:
    producer = FakeProducer()
    put(tmp_path, "1.png")
    producer.fails = BrokerUnavailable("gone")
    with pytest.raises(BrokerUnavailable):
        watch(tmp_path, producer).sweep()
    assert files(tmp_path) == ["1.png"]
    producer.fails = None
    watch(tmp_path, producer).sweep()
    watch(tmp_path, producer)  # a new process
    put(tmp_path, "1.png")  # as if it had died before the picture was moved
    watch(tmp_path, producer).sweep()
    assert len({event.event_id for event in producer.published}) == 1


def test_an_outage_does_not_change_the_order(tmp_path: Path) -> None:
    producer = FakeProducer()
    put(tmp_path, "1.png", modified=1)
    put(tmp_path, "2.png", modified=2)
    producer.busy = [BrokerUnavailable("gone")]
    with pytest.raises(BrokerUnavailable):
        watch(tmp_path, producer).sweep()
    assert producer.published == []
    watch(tmp_path, producer).sweep()
    assert [event.chip_id for event in producer.published] == ["1.png", "2.png"]


def test_an_oversize_picture_is_put_aside_and_does_not_hold_up_the_next(tmp_path: Path) -> None:
    put(tmp_path, "1.png", b"x" * 11, modified=1)
    put(tmp_path, "2.png", modified=2)
    assert watch(tmp_path, FakeProducer(max_image_bytes=10)).sweep() == 1
    assert files(tmp_path) == ["done/2.png", "refused/1.png"]


def test_a_name_that_comes_again_does_not_replace_the_earlier_picture(tmp_path: Path) -> None:
    producer = FakeProducer()
    watched = watch(tmp_path, producer)
    put(tmp_path, "1.png", b"first", modified=1)
    watched.sweep()
    put(tmp_path, "1.png", b"second", modified=2)
    watched.sweep()
    assert files(tmp_path) == ["done/1-2000000000.png", "done/1.png"]
    assert len({event.event_id for event in producer.published}) == 2


class Jammed:
    """Files that cannot be moved, by their names."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: set[str] = set()
        self.tries = 0
        really_replace = Path.replace

        def replace(path: Path, target: Path) -> Path:
            if path.name in self.names:
                self.tries += 1
                raise PermissionError("read-only")
            return really_replace(path, target)

        monkeypatch.setattr(Path, "replace", replace)


@pytest.fixture
def jammed(monkeypatch: pytest.MonkeyPatch) -> Jammed:
    return Jammed(monkeypatch)


def test_a_picture_that_cannot_be_moved_is_not_sent_again(tmp_path: Path, jammed: Jammed) -> None:
    jammed.names = {"1.png"}
    producer = FakeProducer()
    watched = watch(tmp_path, producer)
    put(tmp_path, "1.png")
    with capture_logs() as logs:
        assert [watched.sweep() for _ in range(3)] == [1, 0, 0]
    assert [line["event"] for line in logs] == ["picture_not_moved"]


def test_pictures_are_moved_once_they_can_be_and_not_sent_again_after_a_restart(tmp_path: Path, jammed: Jammed) -> None:
    jammed.names = {"1.png", "2.png"}
    producer = FakeProducer()
    watched = watch(tmp_path, producer)
    put(tmp_path, "1.png", b"good", modified=1)
    put(tmp_path, "2.png", b"x" * 1000, modified=2)
    producer.max_image_bytes = 10
    watched.sweep()
    jammed.names = set()
    assert watched.sweep() == 0
    assert files(tmp_path) == ["done/1.png", "refused/2.png"]
    assert watch(tmp_path, producer).sweep() == 0


def test_one_that_can_never_be_moved_does_not_keep_the_others_from_it(tmp_path: Path, jammed: Jammed) -> None:
    jammed.names = {"1.png", "2.png"}
    watched = watch(tmp_path, FakeProducer())
    put(tmp_path, "1.png", modified=1)
    put(tmp_path, "2.png", modified=2)
    watched.sweep()
    jammed.names, jammed.tries = {"1.png"}, 0
    watched.sweep()
    assert jammed.tries == 1  # one failure a sweep: new pictures are not to wait for thousands
    watched.sweep()
    assert files(tmp_path) == ["1.png", "done/2.png"]


def test_a_new_picture_in_place_of_one_that_was_not_moved_is_sent(tmp_path: Path, jammed: Jammed) -> None:
    jammed.names = {"1.png"}
    producer = FakeProducer()
    watched = watch(tmp_path, producer)
    put(tmp_path, "1.png", b"first", modified=1)
    watched.sweep()
    put(tmp_path, "1.png", b"second", modified=2)
    jammed.names = set()
    assert [watched.sweep(), watched.sweep()] == [1, 0]
    assert [event.image_bytes for event in producer.published] == [b"first", b"second"]


def test_another_picture_of_the_same_name_and_time_is_another_event(tmp_path: Path) -> None:
    producer = FakeProducer()
    watched = watch(tmp_path, producer)
    for data in (b"of the first shift", b"of the second shift"):  # a camera whose clock begins anew with its names
        put(tmp_path, "0001.png", data, modified=946_684_800)
        watched.sweep()
    assert len({event.event_id for event in producer.published}) == 2


def test_pictures_of_the_same_name_and_time_are_all_kept(tmp_path: Path) -> None:
    watched = watch(tmp_path, FakeProducer())
    for data in (b"1", b"2", b"3", b"4"):
        put(tmp_path, "0001.png", data, modified=1)
        watched.sweep()
    kept = ["done/0001-1000000000-2.png", "done/0001-1000000000-3.png", "done/0001-1000000000.png", "done/0001.png"]
    assert files(tmp_path) == kept


class ReplacedMeanwhile(FakeProducer):
    """While it stores the first picture, or refuses it, the camera puts its next one under the same name."""

    def __init__(self, folder: Path, fails: Exception | None) -> None:
        super().__init__()
        self._folder = folder
        self._first = [fails]

    def publish(self, event: ImageCaptured) -> Future[Stored]:
        if self._first:
            put(self._folder, "next", b"second", modified=2).replace(self._folder / "1.png")
            if error := self._first.pop():
                raise error
        return super().publish(event)


@pytest.mark.parametrize(
    ("fails", "stored", "left"),
    [
        (None, [b"first", b"second"], ["done/1.png"]),
        (UnwritableEvent("text that is not Unicode"), [b"second"], ["done/1.png"]),
    ],
)
def test_a_picture_that_comes_under_the_name_of_one_that_is_being_sent_is_sent_too(
    tmp_path: Path, fails: Exception | None, stored: list[bytes], left: list[str]
) -> None:
    producer = ReplacedMeanwhile(tmp_path, fails)
    watched = watch(tmp_path, producer)
    put(tmp_path, "1.png", b"first", modified=1)
    watched.sweep()
    assert files(tmp_path) == ["1.png"]
    assert watched.sweep() == 1
    assert [event.image_bytes for event in producer.published] == stored
    assert files(tmp_path) == left


def test_a_picture_that_is_replaced_before_it_is_read_is_sent_once_with_its_own_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = FakeProducer()
    path = put(tmp_path, "1.png", b"first", modified=1)
    really_open = Path.open

    def replace_and_open(opened: Path, *arguments: Any, **named: Any) -> Any:
        if opened == path and not producer.published:
            put(tmp_path, "next", b"second", modified=1_767_225_600).replace(path)
        return really_open(opened, *arguments, **named)

    monkeypatch.setattr(Path, "open", replace_and_open)
    watched = watch(tmp_path, producer)
    assert [watched.sweep(), watched.sweep()] == [1, 0]
    (event,) = producer.published
    assert (event.image_bytes, event.captured_at) == (b"second", datetime(2026, 1, 1, tzinfo=UTC))
    assert files(tmp_path) == ["done/1.png"]


def test_what_somebody_else_took_away_need_not_be_moved_any_more(tmp_path: Path, jammed: Jammed) -> None:
    jammed.names = {"1.png"}
    watched = watch(tmp_path, FakeProducer())
    path = put(tmp_path, "1.png")
    watched.sweep()
    path.unlink()
    watched.sweep()
    assert watched._unmoved == {}


def test_done_on_another_file_system_is_a_configuration_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really_stat = Path.stat

    def stat(path: Path, **options: bool) -> Any:
        found = really_stat(path, **options)
        return found if path.name != "done" else SimpleNamespace(st_mode=found.st_mode, st_dev=found.st_dev + 1)

    monkeypatch.setattr(Path, "stat", stat)
    with pytest.raises(ConfigurationError, match=r"done is on another file system"):
        watch(tmp_path, FakeProducer())


def test_a_folder_that_cannot_be_written_to_is_a_configuration_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = tmp_path / "refused"
    monkeypatch.setattr(os, "access", lambda path, _mode: path != refused)  # root may write everywhere
    with pytest.raises(ConfigurationError, match=r"refused cannot be written to.*allow it"):
        watch(tmp_path, FakeProducer())


def test_a_folder_that_is_not_there_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="CHIPSIEVE_GATEWAY__WATCH_DIR"):
        watch(tmp_path / "nowhere", FakeProducer())


def test_a_folder_that_the_system_does_not_show_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"WATCH_DIR is .* cannot be looked at \(File name too long\)"):
        watch(tmp_path / ("n" * 256), FakeProducer())


def test_the_watch_goes_on_after_an_outage_and_ends_when_told(tmp_path: Path) -> None:
    stopped = threading.Event()
    producer = StopsTheWatch(stopped)
    producer.busy = [BrokerUnavailable("gone"), BrokerUnavailable("gone")]
    put(tmp_path, "1.png")
    put(tmp_path, "2.png")
    watch(tmp_path, producer).run(stopped, interval_s=0.001)
    assert files(tmp_path) == ["2.png", "done/1.png"]


def test_a_picture_from_the_future_is_taken_and_its_lines_clock_told_once(tmp_path: Path) -> None:
    def ahead() -> float:
        return REGISTRY.get_sample_value("chipsieve_clock_ahead_total", {"source": "folder", "line": "line-1"}) or 0.0

    before, producer = ahead(), FakeProducer()
    put(tmp_path, "1.png", modified=datetime(2999, 1, 1, tzinfo=UTC).timestamp())
    producer.fails = BrokerUnavailable("gone")
    with pytest.raises(BrokerUnavailable):
        watch(tmp_path, producer).sweep()
    producer.fails = None
    put(tmp_path, "2.png")
    assert watch(tmp_path, producer).sweep() == 2
    assert ahead() == before + 1
