"""The gateway as a process, and the folder feed, in front of a real broker."""

import hashlib
import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
import typer
from confluent_kafka import Consumer, TopicPartition
from typer.testing import CliRunner

from services.cli.feed import feed
from services.cli.line import Line, RunningService, free_port
from services.gateway.producer import ImageProducer
from shared.events import ImageCaptured
from shared.identity import from_headers, identity_of
from shared.kafka import reader_config
from shared.settings import Settings
from shared.stream.errors import ExitStatus
from shared.topics import Topics
from shared.wire.codec import Codec
from shared.wire.registry import SchemaRegistry
from tests.bad_pictures import bad_pictures, encoded, noise
from tests.integration.valkey import wait_until

PICTURE = encoded(noise(), "JPEG")
CHIP = {"line": "line-1", "product": "qfn32", "chip": "tray 3/c1 ü"}
PATIENCE_S = 30.0

app = typer.Typer()
app.command()(feed)


class Images:
    """What lies in the topic."""

    def __init__(self, topics: Topics) -> None:
        self._topic = topics.topic_of(ImageCaptured)
        self._topics = topics
        settings = Settings()
        self._codec = Codec(SchemaRegistry(settings.registry), topics)
        self._config = reader_config(settings.kafka, topics)

    def count(self) -> int:
        """Records so far; an idempotent producer leaves no markers between them."""
        consumer = Consumer(self._config)
        try:
            partitions = [TopicPartition(self._topic.name, number) for number in range(self._topic.partitions)]
            return sum(consumer.get_watermark_offsets(partition, timeout=PATIENCE_S)[1] for partition in partitions)
        finally:
            consumer.close()

    def read(self, partition: int, offset: int) -> ImageCaptured:
        """One event; its key and headers say the same as its payload."""
        consumer = Consumer(self._config)
        try:
            consumer.assign([TopicPartition(self._topic.name, partition, offset)])
            message = consumer.poll(PATIENCE_S)
            assert message is not None
            assert message.error() is None
            event = self._codec.decode(message.value(), ImageCaptured)
            in_headers = from_headers(
                message.headers(), key=message.key(), position="nowhere", timestamp=event.captured_at
            )
            assert message.key() == event.line_id.encode()
            assert in_headers == identity_of(event)
            return event
        finally:
            consumer.close()

    def all(self) -> list[ImageCaptured]:
        """Every event, in order within a line."""
        consumer = Consumer(self._config)
        try:
            consumer.assign([TopicPartition(self._topic.name, number, 0) for number in range(self._topic.partitions)])
            events, wanted = [], self.count()
            while len(events) < wanted:
                message = consumer.poll(PATIENCE_S)
                assert message is not None
                if message.error() is None:
                    events.append(self._codec.decode(message.value(), ImageCaptured))
            return events
        finally:
            consumer.close()


@pytest.fixture
def images(topics: Topics) -> Images:
    return Images(topics)


@contextmanager
def gateway(tmp_path: Path, *, ready: bool = True, **env: str) -> Iterator[tuple[RunningService, httpx.Client]]:
    """A gateway process with the settings of this test's environment, and a client that posts to it."""
    port = free_port()
    settings = {"CHIPSIEVE_GATEWAY__PORT": str(port), **env}
    with Line({}, tmp_path / "logs", services=()) as processes:
        service = processes.start("gateway", env=settings)
        if ready:
            processes.wait_until_ready()
        wait_until(lambda: is_listening(port), seconds=PATIENCE_S)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as client:
            yield service, client


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def admin(service: RunningService, path: str) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{service.admin_port}{path}", timeout=PATIENCE_S)


def post(client: httpx.Client, body: bytes = PICTURE, **query: str) -> httpx.Response:
    return client.post("/v1/images", params=CHIP | query, content=body)


def test_an_answered_picture_lies_in_kafka_where_the_answer_says(images: Images, tmp_path: Path) -> None:
    with gateway(tmp_path) as (service, client):
        answer = post(client, sha256=hashlib.sha256(PICTURE).hexdigest(), deadline_ms="150")
        assert answer.status_code == 201
        where = answer.json()
        event = images.read(where["partition"], where["offset"])
        assert event.image_bytes == PICTURE
        assert (event.event_id, event.chip_id) == (where["event_id"], CHIP["chip"])
        assert event.verdict_by is not None
        assert 'chipsieve_images_total{outcome="STORED",source="http"} 1.0' in admin(service, "/metrics").text


def test_a_refused_picture_leaves_nothing_in_kafka(images: Images, topics: Topics, tmp_path: Path) -> None:
    with gateway(tmp_path) as (_, client):
        for body, reason in bad_pictures().values():
            answer = post(client, body)
            assert 400 <= answer.status_code < 500
            assert answer.json()["reason"] == reason
        assert post(client, sha256="0" * 64).json()["reason"] == "CHECKSUM_MISMATCH"
        assert post(client, line="").json()["reason"] == "INVALID_IDENTITY"
        oversize = post(client, b"x" * (topics.max_image_bytes + 1))
        assert oversize.status_code == 413
        assert str(topics.max_image_bytes) in oversize.json()["detail"]
        assert images.count() == 0
        assert post(client).status_code == 201
    assert images.count() == 1


def test_the_largest_picture_that_is_allowed_gets_through(images: Images, topics: Topics, tmp_path: Path) -> None:
    picture = encoded(noise(), "BMP")
    largest = picture + b"\0" * (topics.max_image_bytes - len(picture))  # what follows a BMP's pixels does not count
    with gateway(tmp_path) as (_, client):
        where = post(client, largest, chip="c" * 500).json()
        assert images.read(where["partition"], where["offset"]).image_bytes == largest


def test_an_endless_body_is_answered_at_the_limit_and_does_not_grow_the_process(
    topics: Topics, images: Images, tmp_path: Path
) -> None:
    with gateway(tmp_path) as (_, client), socket.create_connection(("127.0.0.1", client.base_url.port)) as sender:
        sender.settimeout(0.001)
        sender.sendall(
            b"POST /v1/images?line=l&product=p&chip=c HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        sent = 0
        chunk = b"%x\r\n%s\r\n" % (65_536, b"x" * 65_536)
        received = b""
        while b"\r\n\r\n" not in received:
            assert sent < 4 * topics.max_image_bytes
            received += try_to_receive(sender)
            sender.settimeout(PATIENCE_S)
            sender.sendall(chunk)
            sender.settimeout(0.001)
            sent += len(chunk)
        assert received.startswith(b"HTTP/1.1 413")
        assert post(client).status_code == 201
    assert images.count() == 1


def test_a_line_whose_bodies_do_not_come_keeps_no_other_line_waiting(images: Images, tmp_path: Path) -> None:
    head = b"POST /v1/images?line=slow&product=p&chip=c HTTP/1.1\r\nHost: gateway\r\nContent-Length: 30000\r\n\r\nabc"
    with ExitStack() as cleanup:
        _, client = cleanup.enter_context(gateway(tmp_path))
        for _ in range(100):  # more than there may be whole pictures under way
            sender = socket.create_connection(("127.0.0.1", client.base_url.port), PATIENCE_S)
            cleanup.enter_context(sender).sendall(head)
        # Their heads came before it, so they are being read by now.
        assert post(client, line="slow").status_code == 201
        assert post(client, line="another").status_code == 201
    assert images.count() == 2


def test_metrics_are_told_while_broker_and_registry_are_silent(topics: Topics, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and says nothing
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        nowhere = {"CHIPSIEVE_KAFKA__BOOTSTRAP_SERVERS": address, "CHIPSIEVE_REGISTRY__URL": f"http://{address}"}
        with gateway(tmp_path, ready=False, **nowhere) as (service, _):
            answer = httpx.get(f"http://127.0.0.1:{service.admin_port}/metrics", timeout=2)
            assert 'chipsieve_ready{stage="gateway"} 0.0' in answer.text


def try_to_receive(sender: socket.socket) -> bytes:
    try:
        return sender.recv(65_536)
    except TimeoutError:
        return b""


def test_without_a_broker_senders_are_told_to_come_again_and_probes_to_wait(topics: Topics, tmp_path: Path) -> None:
    nowhere = {
        "CHIPSIEVE_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}",
        "CHIPSIEVE_GATEWAY__DELIVERY_TIMEOUT_MS": "1000",
    }
    with gateway(tmp_path, ready=False, **nowhere) as (service, client):
        answer = post(client)
        assert answer.status_code == 503
        assert answer.json()["reason"] == "BROKER_UNAVAILABLE"
        assert int(answer.headers["retry-after"]) > 0
        assert admin(service, "/readyz").status_code == 503
        assert admin(service, "/healthz").status_code == 200


def test_a_missing_topic_is_named_with_the_command_that_makes_it(topics: Topics, tmp_path: Path) -> None:
    with gateway(tmp_path, ready=False, CHIPSIEVE_TOPIC_PREFIX="no-such-plant-") as (service, client):
        assert "chipsieve topics create" in admin(service, "/readyz").json()["because"]
        answer = post(client)
        assert answer.status_code == 503
        assert "chipsieve topics create" in answer.json()["detail"]


def test_a_gateway_that_is_told_to_stop_ends_by_itself(topics: Topics, tmp_path: Path) -> None:
    with gateway(tmp_path) as (service, client):
        assert post(client).status_code == 201
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(PATIENCE_S) == ExitStatus.DRAINED
        assert '"event": "drained"' in service.log.read_text()


def test_a_picture_that_is_under_way_when_the_gateway_is_told_to_stop_is_still_stored_and_answered(
    images: Images, tmp_path: Path
) -> None:
    with (
        gateway(tmp_path) as (service, client),
        socket.create_connection(("127.0.0.1", client.base_url.port), PATIENCE_S) as sender,
    ):
        head = f"POST /v1/images?line=l&product=p&chip=c HTTP/1.1\r\nHost: g\r\nContent-Length: {len(PICTURE)}\r\n\r\n"
        sender.sendall(head.encode() + PICTURE[:100])
        # Another request's answer tells that the first one's beginning has been read.
        assert post(client).status_code == 201
        client.close()
        service.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not is_listening(client.base_url.port), seconds=PATIENCE_S)
        sender.sendall(PICTURE[100:])
        assert sender.recv(65_536).startswith(b"HTTP/1.1 201")
        assert service.process.wait(PATIENCE_S) == ExitStatus.DRAINED
    assert images.count() == 2


def test_a_port_that_is_taken_is_named_with_its_setting(topics: Topics, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, Line({}, tmp_path / "logs", services=()) as processes:
        env = {"CHIPSIEVE_GATEWAY__PORT": str(taken.getsockname()[1])}
        service = processes.start("gateway", env=env)
        assert service.process.wait(PATIENCE_S) == ExitStatus.MISCONFIGURED
        assert "CHIPSIEVE_GATEWAY__PORT" in service.log.read_text()


def watching(folder: Path) -> dict[str, str]:
    folder.mkdir()
    return {
        "CHIPSIEVE_GATEWAY__WATCH_DIR": str(folder),
        "CHIPSIEVE_GATEWAY__WATCH_LINE": "line-9",
        "CHIPSIEVE_GATEWAY__WATCH_PRODUCT": "qfn32",
    }


def test_pictures_that_appear_in_a_watched_folder_are_taken_in(images: Images, tmp_path: Path) -> None:
    folder = tmp_path / "camera"
    with gateway(tmp_path, **watching(folder)):
        for number in range(3):
            written = folder / f".{number}.jpg"
            written.write_bytes(PICTURE)
            written.rename(folder / f"{number}.jpg")
            wait_until(lambda number=number: (folder / "done" / f"{number}.jpg").exists(), seconds=PATIENCE_S)
        events = images.all()
    assert [(event.line_id, event.chip_id) for event in events] == [("line-9", f"{number}.jpg") for number in range(3)]


def test_a_watched_picture_whose_name_is_no_utf8_is_refused_and_counted_and_the_next_is_taken_in(
    images: Images, tmp_path: Path
) -> None:
    folder = tmp_path / "camera"
    name = os.fsdecode(b"pr\xfcfling.jpg")
    with gateway(tmp_path, **watching(folder)) as (service, _):
        (folder / name).write_bytes(PICTURE)
        wait_until((folder / "refused" / name).exists, seconds=PATIENCE_S)
        written = folder / ".1.jpg"
        written.write_bytes(PICTURE)
        written.rename(folder / "1.jpg")
        wait_until((folder / "done" / "1.jpg").exists, seconds=PATIENCE_S)
        refused = 'chipsieve_images_total{outcome="INVALID_IDENTITY",source="folder"} 1.0'
        assert refused in admin(service, "/metrics").text
        assert admin(service, "/healthz").status_code == 200
        logged = [json.loads(line) for line in service.log.read_text().splitlines()]
    assert [line["file"] for line in logged if line["event"] == "picture_refused"] == [r"pr\udcfcfling.jpg"]
    assert [event.chip_id for event in images.all()] == ["1.jpg"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    for name in ("good/1.jpg", "good/2.jpg", "bad/empty.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"" if "empty" in name else PICTURE)
    (folder / "notes.txt").write_text("not a picture")
    return folder


@pytest.fixture
def run(images: Images) -> Callable[..., tuple[int, str, str]]:
    def invoke(folder: Path, *options: str) -> tuple[int, str, str]:
        result = CliRunner().invoke(app, [str(folder), "--line", "line-1", "--product", "qfn32", *options])
        return result.exit_code, result.stdout, result.stderr

    return invoke


def test_a_fed_folder_lies_in_kafka_in_order_and_is_reported(
    run: Callable[..., tuple[int, str, str]], images: Images, folder: Path
) -> None:
    status, out, err = run(folder, "--repeat", "2", "--rate", "500", "--json")
    report = json.loads(out)
    assert (status, report["sent"], report["skipped"], report["refused"]) == (0, 6, 1, [])
    assert report["seconds"] > 0
    assert "1 files without a picture's suffix" in err
    chips = ["bad/empty.png", "good/1.jpg", "good/2.jpg"]
    assert [event.chip_id for event in images.all()] == [*chips, *(f"{chip}#2" for chip in chips)]


def test_an_oversize_picture_in_a_folder_is_refused_with_the_limit_and_goes_by_reference(
    run: Callable[..., tuple[int, str, str]], images: Images, topics: Topics, folder: Path
) -> None:
    (folder / "large.bmp").write_bytes(b"x" * (topics.max_image_bytes + 1))
    status, out, err = run(folder, "--json")
    assert status == 1
    assert [refused["chip_id"] for refused in json.loads(out)["refused"]] == ["large.bmp"]
    assert f"the limit is {topics.max_image_bytes} bytes" in err

    status, out, _ = run(folder, "--by-reference", str(folder.parent))
    assert status == 0
    assert out.startswith("4 pictures sent to line line-1")
    assert images.all()[-1].image_uri == (folder / "large.bmp").resolve().as_uri()


def test_all_files_are_sent_when_asked_for(
    run: Callable[..., tuple[int, str, str]], images: Images, folder: Path
) -> None:
    assert run(folder, "--all-files")[0] == 0
    assert images.all()[-1].chip_id == "notes.txt"


def test_the_producer_tells_where_every_event_lies(images: Images) -> None:
    from services.gateway.capture import capture, identify

    with ImageProducer(Settings(), delivery_timeout_ms=10_000) as producer:
        assert producer.not_ready_because() is None
        events = [
            capture(identify(line_id=f"line-{number % 3}", product="p", chip_id=f"c{number}"), b"x", max_image_bytes=9)
            for number in range(30)
        ]
        stored = [future.result() for future in [producer.publish(event) for event in events]]
    assert [where.event_id for where in stored] == [event.event_id for event in events]
    assert images.read(stored[7].partition, stored[7].offset) == events[7]
