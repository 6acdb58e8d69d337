import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY
from starlette.testclient import TestClient

from services.gateway.errors import GatewayBusy
from services.gateway.http import application
from services.gateway.settings import DoorSettings
from shared.identity import identity_of
from shared.kafka import BrokerUnavailable
from tests.bad_pictures import bad_pictures, encoded, noise
from tests.unit.gateway.doubles import FakeProducer

PICTURE = encoded(noise(), "JPEG")
CHIP = {"line": "line-1", "product": "qfn32", "chip": "c1"}
STATUS = {"UNDECODABLE_IMAGE": 422, "UNSUPPORTED_IMAGE": 415, "IMAGE_TOO_LARGE": 413}


@pytest.fixture
def producer() -> FakeProducer:
    return FakeProducer()


@pytest.fixture
def door(producer: FakeProducer) -> Iterator[TestClient]:
    with TestClient(application(producer, DoorSettings()), raise_server_exceptions=False) as client:
        yield client


def post(door: TestClient, body: Any = PICTURE, headers: dict[str, str] | None = None, **query: str) -> httpx.Response:
    return door.post("/v1/images", params=CHIP | query, content=body, headers=headers)


def refused(answer: httpx.Response, status: int, reason: str, detail: str = "") -> None:
    assert answer.status_code == status, answer.text
    assert answer.json()["reason"] == reason
    assert detail in answer.json()["detail"]


def count(metric: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"chipsieve_{metric}_total", labels) or 0.0


def test_a_stored_picture_is_answered_with_where_it_lies(door: TestClient, producer: FakeProducer) -> None:
    before = count("images", source="http", outcome="STORED")
    answer = post(door)
    assert answer.status_code == 201
    assert count("images", source="http", outcome="STORED") == before + 1
    (event,) = producer.published
    assert answer.json() == {"event_id": event.event_id, "topic": "images", "partition": 0, "offset": 0}
    assert event.image_bytes == PICTURE
    assert (event.line_id, event.product, event.chip_id) == ("line-1", "qfn32", "c1")


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_format_that_is_inspected_is_taken(door: TestClient, image_format: str, mode: str) -> None:
    assert post(door, encoded(noise(mode), image_format)).status_code == 201


@pytest.mark.parametrize("name", bad_pictures())
def test_a_bad_picture_is_refused_with_its_reason_and_not_stored(
    door: TestClient, producer: FakeProducer, name: str
) -> None:
    body, reason = bad_pictures()[name]
    refused(post(door, body), STATUS[reason.value], reason.value)
    assert producer.published == []


@pytest.mark.parametrize("missing", ["line", "product", "chip"])
def test_a_picture_of_nobody_is_refused(door: TestClient, producer: FakeProducer, missing: str) -> None:
    query = {name: value for name, value in CHIP.items() if name != missing}
    refused(door.post("/v1/images", params=query, content=PICTURE), 400, "INVALID_IDENTITY", missing)
    refused(post(door, **{missing: ""}), 400, "INVALID_IDENTITY", f"{missing} is empty")
    refused(post(door, **{missing: "a\tb"}), 400, "INVALID_IDENTITY", missing)
    assert producer.published == []


@pytest.mark.parametrize("name", ["line", "product", "chip", "event_id"])
def test_an_id_of_more_than_500_characters_is_refused(door: TestClient, producer: FakeProducer, name: str) -> None:
    assert post(door, **{name: "ü" * 500}).status_code == 201
    refused(post(door, **{name: "ü" * 501}), 400, "INVALID_IDENTITY", f"{name} has 501 characters: use at most 500")
    assert len(producer.published) == 1


@pytest.mark.parametrize("name", ["line", "product", "chip", "event_id"])
@pytest.mark.parametrize("value", ["%ff%fe", "%e41", "%EF%BF%BD"])
def test_an_id_that_was_no_utf8_is_refused_since_another_may_look_like_it(
    door: TestClient, producer: FakeProducer, name: str, value: str
) -> None:
    query = "&".join(f"{key}={given}" for key, given in (CHIP | {name: value}).items())
    refused(door.post(f"/v1/images?{query}", content=PICTURE), 400, "INVALID_IDENTITY", f"{name} is ")
    assert producer.published == []


def test_a_misspelt_parameter_is_refused_by_name(door: TestClient) -> None:
    refused(post(door, dead_line="5"), 400, "INVALID_IDENTITY", "no such parameter: dead_line")


@pytest.mark.parametrize("second", ["c2", "c1"])
def test_a_parameter_that_is_given_twice_is_refused_by_name(
    door: TestClient, producer: FakeProducer, second: str
) -> None:
    answer = door.post("/v1/images", params=[*CHIP.items(), ("chip", second)], content=PICTURE)
    refused(answer, 400, "INVALID_IDENTITY", "given more than once: chip")
    assert producer.published == []


def test_times_are_taken_in_iso_8601_and_in_milliseconds(door: TestClient, producer: FakeProducer) -> None:
    post(door, captured_at="2026-01-01T01:00:00.250+01:00", verdict_by="1767225601000")
    (event,) = producer.published
    assert event.captured_at == datetime(2026, 1, 1, 0, 0, 0, 250_000, UTC)
    assert event.verdict_by == datetime(2026, 1, 1, 0, 0, 1, 0, UTC)


def test_a_deadline_counts_from_the_picture(door: TestClient, producer: FakeProducer) -> None:
    post(door, captured_at="2026-01-01T00:00:00Z", deadline_ms="150")
    assert producer.published[0].verdict_by == datetime(2026, 1, 1, tzinfo=UTC) + timedelta(milliseconds=150)


@pytest.mark.parametrize("time", ["yesterday", "2026-01-01T00:00:00", "", "9" * 30, "1900-01-01T00:00:00Z", "²"])
def test_a_time_that_cannot_be_told_is_refused(door: TestClient, time: str) -> None:
    refused(post(door, captured_at=time), 400, "INVALID_IDENTITY", "captured_at")
    refused(post(door, verdict_by=time), 400, "INVALID_IDENTITY", "verdict_by")


def test_a_deadline_before_the_picture_is_refused(door: TestClient, producer: FakeProducer) -> None:
    times = {"captured_at": "2026-01-01T00:00:01Z", "verdict_by": "2026-01-01T00:00:00.999Z"}
    refused(post(door, **times), 400, "INVALID_IDENTITY", "verdict_by is 2026-01-01T00:00:00.999000+00:00, before")
    assert producer.published == []


def test_a_picture_that_comes_after_its_deadline_is_taken_and_found_late(
    door: TestClient, producer: FakeProducer
) -> None:
    assert post(door, verdict_by="2026-01-01T00:00:00Z").status_code == 201
    (event,) = producer.published
    assert identity_of(event).is_late(event.captured_at)


def test_a_picture_from_the_future_is_taken_and_its_lines_clock_told(door: TestClient, producer: FakeProducer) -> None:
    before = count("clock_ahead", source="http", line="fast")
    assert post(door, line="fast", captured_at="2999-01-01T00:00:00Z").status_code == 201
    assert count("clock_ahead", source="http", line="fast") == before + 1
    assert post(door, line="fast", captured_at="2026-01-01T00:00:00Z").status_code == 201
    assert post(door, line="fast").status_code == 201
    assert count("clock_ahead", source="http", line="fast") == before + 1
    assert len(producer.published) == 3


@pytest.mark.parametrize("deadline_ms", ["0", "-5", "soon", "1.5", "", "9" * 40])
def test_a_deadline_that_cannot_be_meant_is_refused(door: TestClient, deadline_ms: str) -> None:
    refused(post(door, deadline_ms=deadline_ms), 400, "INVALID_IDENTITY", "deadline_ms")


def test_bytes_that_changed_on_the_way_are_refused(door: TestClient, producer: FakeProducer) -> None:
    sha256 = hashlib.sha256(PICTURE).hexdigest()
    assert post(door, sha256=sha256).status_code == 201
    refused(post(door, sha256="0" * 64), 422, "CHECKSUM_MISMATCH", sha256)
    assert len(producer.published) == 1


def test_an_oversize_body_is_refused_with_the_limit_named(door: TestClient, producer: FakeProducer) -> None:
    producer.max_image_bytes = 100
    refused(post(door), 413, "OVERSIZE_IMAGE", "the limit is 100 bytes")
    assert producer.published == []


def test_a_form_upload_is_told_how_to_send_instead(door: TestClient) -> None:
    answer = door.post("/v1/images", params=CHIP, files={"image": PICTURE})
    refused(answer, 415, "UNSUPPORTED_BODY", "--data-binary")


def test_a_compressed_body_is_refused(door: TestClient) -> None:
    refused(post(door, headers={"content-encoding": "gzip"}), 415, "UNSUPPORTED_BODY", "gzip")


def test_an_unreachable_broker_is_worth_trying_again(door: TestClient, producer: FakeProducer) -> None:
    producer.fails = BrokerUnavailable("nobody there")
    answer = post(door)
    refused(answer, 503, "BROKER_UNAVAILABLE", "nobody there")
    assert int(answer.headers["retry-after"]) > 0


def test_a_full_queue_is_worth_trying_again(door: TestClient, producer: FakeProducer) -> None:
    producer.busy = [GatewayBusy("full")]
    answer = post(door)
    refused(answer, 503, "GATEWAY_BUSY", "full")
    assert "retry-after" in answer.headers


def test_what_nobody_foresaw_is_answered_in_json_too(door: TestClient, producer: FakeProducer) -> None:
    producer.busy = [RuntimeError("surprise")]
    refused(post(door), 500, "INTERNAL_ERROR")


def test_other_paths_and_methods_are_answered_in_json(door: TestClient) -> None:
    refused(door.get("/v1/images"), 405, "METHOD_NOT_ALLOWED", "POST /v1/images")
    refused(door.post("/v2/images"), 404, "NOT_FOUND", "POST /v1/images")


def test_a_picture_that_is_sent_elsewhere_is_refused_and_counted(door: TestClient, producer: FakeProducer) -> None:
    before = count("images", source="http", outcome="NOT_FOUND")
    answer = door.post("/v1/images/", params=CHIP, content=PICTURE, follow_redirects=False)
    refused(answer, 404, "NOT_FOUND", "POST /v1/images")
    assert count("images", source="http", outcome="NOT_FOUND") == before + 1
    door.get("/")
    assert count("images", source="http", outcome="NOT_FOUND") == before + 1, "that was no picture"
    assert producer.published == []


def test_a_request_that_comes_again_under_its_event_id_is_stored_once(door: TestClient, producer: FakeProducer) -> None:
    first, again = post(door, event_id="mine"), post(door, event_id="mine")
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert [event.event_id for event in producer.published] == ["mine"]


def test_an_event_id_belongs_to_one_picture_of_one_chip(door: TestClient, producer: FakeProducer) -> None:
    post(door, event_id="mine")
    refused(post(door, encoded(noise("L"), "PNG"), event_id="mine"), 409, "CONFLICTING_EVENT", "'mine'")
    refused(post(door, event_id="mine", chip="c2"), 409, "CONFLICTING_EVENT")
    assert len(producer.published) == 1


def test_an_event_id_of_one_line_says_nothing_of_another_lines(door: TestClient, producer: FakeProducer) -> None:
    assert post(door, event_id="guessed", line="line-1").status_code == 201
    assert post(door, event_id="guessed", line="line-6", chip="c6").status_code == 201
    assert post(door, event_id="guessed", line="line-6", chip="c6").status_code == 200
    assert [(event.line_id, event.chip_id) for event in producer.published] == [("line-1", "c1"), ("line-6", "c6")]


def test_an_event_that_was_not_stored_may_be_sent_again(door: TestClient, producer: FakeProducer) -> None:
    producer.fails = BrokerUnavailable("gone")
    assert post(door, event_id="mine").status_code == 503
    producer.fails = None
    assert post(door, event_id="mine").status_code == 201


def test_the_same_event_twice_at_once_is_stored_once_and_answered_when_it_is(producer: FakeProducer) -> None:
    producer.holding = []
    with (
        TestClient(application(producer, DoorSettings())) as client,
        ThreadPoolExecutor(2) as senders,
    ):
        answers = [senders.submit(post, client, event_id="mine") for _ in range(2)]
        while not producer.holding:
            pass
        assert not any(answer.done() for answer in answers)
        for future, stored in producer.holding:
            future.set_result(stored)
        assert sorted(answer.result().status_code for answer in answers) == [200, 201]
    assert len(producer.published) == 1


def test_only_the_latest_event_ids_are_remembered(producer: FakeProducer) -> None:
    with TestClient(application(producer, DoorSettings(remembered_events=1))) as client:
        statuses = [post(client, event_id=event_id).status_code for event_id in ("a", "b", "b", "a")]
    assert statuses == [201, 201, 200, 201]


def test_more_pictures_than_may_be_under_way_are_told_to_come_again(producer: FakeProducer) -> None:
    producer.holding = []
    with (
        TestClient(application(producer, DoorSettings(max_in_flight=1))) as client,
        ThreadPoolExecutor(1) as senders,
    ):
        first = senders.submit(post, client)
        while not producer.holding:
            pass
        answer = post(client)
        refused(answer, 503, "GATEWAY_BUSY", "1 of 1 pictures are under way")
        assert "retry-after" in answer.headers
        future, stored = producer.holding[0]
        future.set_result(stored)
        assert first.result().status_code == 201


def test_every_answer_is_one_json_document(door: TestClient) -> None:
    for answer in (post(door), post(door, b""), door.get("/")):
        assert answer.headers["content-type"] == "application/json"
        json.loads(answer.text)
