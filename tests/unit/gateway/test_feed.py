import hashlib
import os
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from services.gateway.errors import GatewayBusy
from services.gateway.feed import FeedOrder, feed
from services.gateway.folder import look_into
from shared.errors import ConfigurationError
from shared.kafka import BrokerUnavailable
from tests.unit.gateway.doubles import FakeProducer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.png", "a/z.JPG", "a/b.webp", ".hidden.png", ".git/c.png", "notes.txt", "a-1.png"):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path / "pictures"


def order(folder: Path, **options: Any) -> FeedOrder:
    pictures = look_into(folder).pictures
    return FeedOrder(folder=folder, pictures=pictures, line_id="line-1", product="qfn32", **options)


def test_pictures_are_found_by_suffix_and_sorted_by_their_path(folder: Path) -> None:
    found = look_into(folder)
    assert [path.relative_to(folder).as_posix() for path in found.pictures] == [
        "a-1.png",
        "a/b.webp",
        "a/z.JPG",
        "b.png",
    ]
    assert [path.name for path in found.others] == ["notes.txt"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nowhere is no folder"):
        look_into(tmp_path / "nowhere")


def test_what_cannot_be_looked_at_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", look)
    with pytest.raises(ConfigurationError, match=r"cannot be read \(Permission denied\): allow it"):
        look_into(folder)


def test_a_chips_id_is_the_path_of_its_picture(folder: Path) -> None:
    producer = FakeProducer()
    fed = feed(order(folder), producer)
    assert fed.sent == 4
    assert [event.chip_id for event in producer.published] == ["a-1.png", "a/b.webp", "a/z.JPG", "b.png"]
    assert {(event.line_id, event.product) for event in producer.published} == {("line-1", "qfn32")}


def test_a_feed_with_a_name_has_the_same_events_when_it_runs_again(folder: Path) -> None:
    runs = []
    for name in ("monday", "monday", "tuesday", None, None):
        producer = FakeProducer()
        feed(order(folder, repeat=2, run=name), producer)
        runs.append([event.event_id for event in producer.published])
    assert runs[0] == runs[1]
    assert len({event_id for run in runs for event_id in run}) == 4 * 8


def test_a_repetition_has_chips_and_events_of_its_own(folder: Path) -> None:
    producer = FakeProducer()
    feed(order(folder, repeat=3), producer)
    assert [event.chip_id for event in producer.published][::4] == ["a-1.png", "a-1.png#2", "a-1.png#3"]
    assert len({event.event_id for event in producer.published}) == 12


def test_what_is_no_picture_is_sent_as_it_is(folder: Path) -> None:
    (folder / "b.png").write_bytes(b"")
    producer = FakeProducer()
    feed(order(folder), producer)
    assert producer.published[-1].image_bytes == b""
    assert producer.published[-1].sha256 == hashlib.sha256(b"").hexdigest()


def test_an_oversize_picture_is_left_out_and_named_with_the_limit(folder: Path) -> None:
    (folder / "b.png").write_bytes(b"x" * 101)
    fed = feed(order(folder), FakeProducer(max_image_bytes=100))
    assert fed.sent == 3
    assert [refused.chip_id for refused in fed.refused] == ["b.png"]
    assert "the limit is 100 bytes" in fed.refused[0].detail


def test_an_oversize_picture_goes_by_reference(folder: Path) -> None:
    (folder / "b.png").write_bytes(b"x" * 101)
    producer = FakeProducer(max_image_bytes=100)
    fed = feed(order(folder, reference_root=folder.parent), producer)
    assert (fed.sent, fed.refused) == (4, ())
    assert producer.published[-1].image_uri == (folder / "b.png").resolve().as_uri()
    assert all(event.image_bytes is None for event in producer.published)


def test_a_folder_outside_the_root_is_refused_picture_by_picture(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    fed = feed(order(folder, reference_root=root), FakeProducer())
    assert fed.sent == 0
    assert all("outside the image root" in refused.detail for refused in fed.refused)


@pytest.mark.parametrize("run", [None, "monday"])
def test_a_name_that_is_no_utf8_is_left_out_and_named(folder: Path, run: str | None) -> None:
    (folder / os.fsdecode(b"pr\xfcfling.png")).write_bytes(b"picture")
    fed = feed(order(folder, run=run), FakeProducer())
    assert fed.sent == 4
    assert [refused.chip_id for refused in fed.refused] == [r"pr\udcfcfling.png"]
    assert "printable" in fed.refused[0].detail


def test_a_deadline_counts_from_sending(folder: Path) -> None:
    producer = FakeProducer()
    feed(order(folder, deadline_ms=100), producer)
    event = producer.published[0]
    assert event.verdict_by == event.captured_at + timedelta(milliseconds=100)


class AcknowledgesOnceWaitedFor(FakeProducer):
    def publish(self, event: Any) -> Any:
        acknowledged = super().publish(event)
        acknowledged.done = lambda: False
        return acknowledged


def test_pictures_that_are_acknowledged_after_the_last_was_sent_count(folder: Path) -> None:
    told: list[int] = []
    producer = AcknowledgesOnceWaitedFor()
    assert feed(order(folder), producer, told.append).sent == 4
    assert told == [0, 0, 0, 0, 1, 2, 3, 4]


@pytest.mark.parametrize("kind", [FakeProducer, AcknowledgesOnceWaitedFor])
def test_a_full_queue_makes_the_feed_wait_for_earlier_pictures(folder: Path, kind: type[FakeProducer]) -> None:
    producer = kind()
    publish = producer.publish

    def busy_once(event: Any) -> Any:
        if len(producer.published) == 2:
            producer.publish = publish  # type: ignore[method-assign]  # a double of it
            raise GatewayBusy("full")
        return publish(event)

    producer.publish = busy_once  # type: ignore[method-assign]  # a double of it
    assert feed(order(folder), producer).sent == 4
    assert len(producer.published) == 4


def test_a_rate_spreads_pictures_evenly_from_the_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    now = iter([100.0, 100.0, 100.1, 101.5, 101.6, 102.0])
    monkeypatch.setattr("services.gateway.feed.time", SimpleNamespace(monotonic=lambda: next(now), sleep=slept.append))
    feed(order(folder, rate=2), FakeProducer())
    assert slept == pytest.approx([0, 0.4, 0, 0])


def test_a_picture_that_kafka_did_not_take_ends_the_feed(folder: Path) -> None:
    producer = FakeProducer()
    producer.fails = BrokerUnavailable("gone")
    with pytest.raises(BrokerUnavailable):
        feed(order(folder), producer)


def test_progress_counts_up_to_all(folder: Path) -> None:
    told: list[int] = []
    feed(order(folder), FakeProducer(), told.append)
    assert told == sorted(told)
    assert told[-1] == 4


def test_a_feed_that_is_stopped_counts_what_kafka_has_by_then(folder: Path) -> None:
    producer = AcknowledgesOnceWaitedFor()
    publish = producer.publish

    def interrupted(event: Any) -> Any:
        if len(producer.published) == 2:
            raise KeyboardInterrupt
        return publish(event)

    producer.publish = interrupted  # type: ignore[method-assign]  # a double of it
    fed = feed(order(folder), producer)
    assert (fed.sent, fed.stopped) == (2, True)
