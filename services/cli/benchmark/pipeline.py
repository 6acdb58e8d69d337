"""The whole line through a real broker, beside the same work in one process."""

import os
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from confluent_kafka import Consumer, TopicPartition
from rich.console import Console

from services.cli.line import Line
from services.gateway.capture import capture, identify
from services.gateway.errors import GatewayBusy
from services.gateway.producer import ImageProducer
from services.trainer.pictures import find_pictures
from services.trainer.train import train
from shared.bank.bundle import read_bundle
from shared.bank.store import BankStore
from shared.errors import ChipsieveError
from shared.events import ChipInspected
from shared.kafka import create_topics, reader_config
from shared.settings import Settings, StreamSettings
from shared.topics import load_topics
from shared.vision.bank import Bank
from shared.vision.engines.loading import load_engine
from shared.vision.errors import PictureError
from shared.vision.extraction import extract
from shared.vision.inspection import inspect
from shared.vision.picture import Picture, decode
from shared.wire.codec import Codec
from shared.wire.registry import SchemaRegistry

LINES = 24  # production lines the pictures are spread over, so that every partition has work
TRAINING_PICTURES = 128  # enough patches for a full memory bank of 2,000 vectors a layer
LOAD = 0.5  # share of the measured throughput at which the latency is taken: a line with head-room
LATENCY_SECONDS = 12.0
PATIENCE_SECONDS = 300.0
DECODE_THREADS = 2


class BenchmarkFailed(ChipsieveError):
    """The line did not do what was to be measured."""


@dataclass(frozen=True)
class PipelineFigures:
    """What `chipsieve bench pipeline` reports."""

    pipeline_images_per_second: float
    bare_images_per_second: float
    efficiency: float
    p50_ms: float
    p99_ms: float
    latency_load: float
    images: int
    engine: str
    precision: str
    cpus: int


def bench_pipeline(images: Path, bundle: Path | None, count: int, work: Path, console: Console) -> PipelineFigures:
    """Measure the line on the stack that the environment points at.

    Args:
        images: folder of pictures.
        bundle: judges them; built from the pictures where None.
        count: pictures to send for the throughput.
        work: folder for logs and a bundle.
        console: where progress is told.

    Raises:
        BenchmarkFailed: no picture can be decoded, or verdicts are missing.
    """
    pictures = _readable([file.read() for file in find_pictures(images)])
    if bundle is None:
        console.print(f"building a bank from up to {TRAINING_PICTURES} of the pictures …")
        bundle = _bundle_of(pictures, work)
    loaded = read_bundle(bundle)
    console.print("bare arithmetic in this process …")
    bare = _bare_rate(list(islice(cycle(pictures), min(count, 600))), loaded.bank)
    settings = Settings(topic_prefix=f"bench-{uuid.uuid4().hex[:8]}-")
    with _line(settings, work) as (producer, verdicts):
        BankStore(settings.redis).publish(loaded)
        product = loaded.manifest.product
        console.print("warming the services up …")
        _send(producer, product, pictures[:64], interval=None)
        verdicts.wait_for(min(64, len(pictures)))
        console.print(f"throughput: {count} pictures as fast as they go …")
        verdicts.clear()
        started = time.time()
        _send(producer, product, list(islice(cycle(pictures), count)), interval=None)
        verdicts.wait_for(count)
        rate = count / (verdicts.last_arrival() - started)
        console.print(f"latency at {LOAD:.0%} of {rate:.0f} images/s …")
        verdicts.clear()
        paced = list(islice(cycle(pictures), max(100, int(rate * LOAD * LATENCY_SECONDS))))
        _send(producer, product, paced, interval=1 / (rate * LOAD))
        verdicts.wait_for(len(paced))
        latencies = verdicts.latencies_ms()
    return PipelineFigures(
        pipeline_images_per_second=round(rate, 2),
        bare_images_per_second=round(bare, 2),
        efficiency=round(rate / bare, 3),
        p50_ms=round(float(np.percentile(latencies, 50)), 1),
        p99_ms=round(float(np.percentile(latencies, 99)), 1),
        latency_load=LOAD,
        images=count,
        engine="openvino",
        precision=loaded.bank.recipe.precision,
        cpus=os.cpu_count() or 1,
    )


@dataclass
class _Verdicts:
    """Verdicts as a consumer outside sees them: committed, with the time they could be read."""

    arrivals: dict[str, float] = field(default_factory=dict)
    due: dict[str, float] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def add(self, verdict: ChipInspected, arrival: float) -> None:
        with self.changed:
            self.arrivals[verdict.event_id] = arrival
            self.due[verdict.event_id] = verdict.captured_at.timestamp()
            self.changed.notify_all()

    def clear(self) -> None:
        with self.changed:
            self.arrivals.clear()
            self.due.clear()

    def wait_for(self, count: int) -> None:
        with self.changed:
            if not self.changed.wait_for(lambda: len(self.arrivals) >= count, PATIENCE_SECONDS):
                raise BenchmarkFailed(
                    f"{len(self.arrivals)} of {count} verdicts after {PATIENCE_SECONDS:.0f} s: see the services' logs"
                )

    def last_arrival(self) -> float:
        return max(self.arrivals.values())

    def latencies_ms(self) -> list[float]:
        return [(arrival - self.due[event_id]) * 1000 for event_id, arrival in self.arrivals.items()]


@contextmanager
def _line(settings: Settings, work: Path) -> Iterator[tuple[ImageProducer, _Verdicts]]:
    """The stages on topics of their own, a producer into them and the verdicts out of them."""
    topics = load_topics(prefix=settings.topic_prefix)
    create_topics(settings.kafka, topics)
    registry = SchemaRegistry(settings.registry)
    registry.register_all(topics)
    topic = topics.topic_of(ChipInspected)
    consumer = Consumer(reader_config(settings.kafka, topics))
    consumer.assign([TopicPartition(topic.name, partition, 0) for partition in range(topic.partitions)])
    verdicts, ended, codec = _Verdicts(), threading.Event(), Codec(registry, topics)

    def collect() -> None:
        while not ended.is_set():
            message = consumer.poll(0.1)
            if message is not None and not message.error():
                verdicts.add(codec.decode(message.value(), ChipInspected), time.time())

    collector = threading.Thread(target=collect, daemon=True)
    with (
        Line({"CHIPSIEVE_TOPIC_PREFIX": settings.topic_prefix}, work / "logs"),
        ImageProducer(settings, delivery_timeout_ms=30_000, linger_ms=5) as producer,
    ):
        collector.start()
        try:
            yield producer, verdicts
        finally:
            ended.set()
            collector.join()
            consumer.close()


def _send(producer: ImageProducer, product: str, pictures: Sequence[bytes], *, interval: float | None) -> None:
    """Send pictures, one every `interval` seconds (as fast as they go where None).

    A picture counts as captured when it was due, whether or not it could be sent then: a stall is not left out.
    """
    pending: list[Future[object]] = []
    started = time.time()
    for index, picture in enumerate(pictures):
        due = started + index * interval if interval is not None else time.time()
        if (wait := due - time.time()) > 0:
            time.sleep(wait)
        identity = identify(
            line_id=f"line-{index % LINES}",
            product=product,
            chip_id=f"chip-{index}",
            captured_at=datetime.fromtimestamp(due, UTC),
        )
        event = capture(identity, picture, max_image_bytes=producer.max_image_bytes)
        while True:
            try:
                pending.append(producer.publish(event))  # type: ignore[arg-type]  # only waited for
                break
            except GatewayBusy:
                pending.pop(0).result()
    for future in pending:
        future.result()


def _bare_rate(pictures: Sequence[bytes], bank: Bank) -> float:
    """Images a second of decode, features and matching in this process, nothing in between."""
    engine = load_engine("openvino", bank.recipe)
    batch_size = StreamSettings().batch_size
    batches = [pictures[start : start + batch_size] for start in range(0, len(pictures), batch_size)]
    with ThreadPoolExecutor(DECODE_THREADS) as decoders:

        def judge(batch: Sequence[bytes]) -> None:
            decoded: list[Picture] = list(decoders.map(decode, batch))
            inspect(extract(decoded, bank.recipe, engine), [picture.shape[:2] for picture in decoded], bank)

        for batch in batches[:2]:
            judge(batch)
        started = time.perf_counter()
        for batch in batches:
            judge(batch)
        return len(pictures) / (time.perf_counter() - started)


def _readable(encoded: Sequence[bytes]) -> list[bytes]:
    """The pictures that can be decoded."""
    readable = []
    for data in encoded:
        try:
            decode(data)
        except PictureError:
            continue
        readable.append(data)
    if not readable:
        raise BenchmarkFailed("not one of the pictures can be decoded: give a folder of JPEG or PNG pictures")
    return readable


def _bundle_of(pictures: Sequence[bytes], work: Path) -> Path:
    normal = work / "normal"
    normal.mkdir()
    step = max(1, len(pictures) // TRAINING_PICTURES)
    for index, data in enumerate(pictures[::step][:TRAINING_PICTURES]):
        # Pictures are recognised by their header; the suffix only says that this is one.
        (normal / f"{index:04}.png").write_bytes(data)
    train(product="benchmark", normal=normal, out=work / "bundle")
    return work / "bundle"
