import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.gateway.watch import FolderWatch
from shared.errors import ConfigurationError
from shared.kafka import BrokerUnavailable
from tests.unit.gateway.doubles import FakeProducer


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


def test_a_picture_is_taken_in_once_and_kept_among_the_done(tmp_path: Path) -> None:
    producer = FakeProducer()
    watched = watch(tmp_path, producer)
    put(tmp_path, "tray/1.png")
    assert [watched.sweep(), watched.sweep()] == [1, 0]
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


def test_a_picture_that_cannot_be_moved_is_not_sent_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(Path, "replace", refuse)
    producer = FakeProducer()
    watched = watch(tmp_path, producer)
    put(tmp_path, "1.png")
    assert [watched.sweep(), watched.sweep()] == [1, 0]


def test_a_folder_that_is_not_there_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="CHIPSIEVE_GATEWAY__WATCH_DIR"):
        watch(tmp_path / "nowhere", FakeProducer())


def test_the_watch_goes_on_after_an_outage_and_ends_when_told(tmp_path: Path) -> None:
    stopped = threading.Event()

    class LastPictureStops(FakeProducer):
        def publish(self, event):  # type: ignore[no-untyped-def]
            future = super().publish(event)
            stopped.set()
            return future

    producer = LastPictureStops()
    producer.busy = [BrokerUnavailable("gone"), BrokerUnavailable("gone")]
    put(tmp_path, "1.png")
    watch(tmp_path, producer).run(stopped, interval_s=0.001)
    assert len(producer.published) == 1
