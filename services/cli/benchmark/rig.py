"""What every benchmark of the line needs: the line itself, pictures into it, verdicts out of it."""

import tempfile
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import cycle, islice
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition
from rich.console import Console

from services.cli.line import STAGES, Line, free_port
from services.cli.local_stack import stack
from services.cli.local_stack.security import point_here
from services.gateway.capture import capture, identify
from services.gateway.feed import hand_over
from services.gateway.producer import ImageProducer, Stored
from services.trainer.material.pictures import find_pictures
from shared.bank.bundle import Bundle
from shared.bank.store import BankStore
from shared.errors import ChipsieveError
from shared.events import ChipInspected, Verdict
from shared.kafka import create_topics, reader_config
from shared.settings import Settings
from shared.topics import load_topics
from shared.vision.engines.precision import best_precision
from shared.vision.errors import PictureError
from shared.vision.picture import decode
from shared.vision.recipe import DEFAULT_RECIPE, Precision
from shared.wire.codec import Codec
from shared.wire.registry import SchemaRegistry

LINES = 24  # production lines the pictures are spread over, so that every partition has work
TRAINING_PICTURES = 128  # enough patches for a full memory bank of 2,000 vectors a layer
THROUGHPUT_PICTURES = 400
PATIENCE_SECONDS = 300.0


class BenchmarkFailed(ChipsieveError):
    """The line did not do what was to be measured."""


@dataclass
class Verdicts:
    """Verdicts as a consumer outside sees them: committed, with the time they could be read."""

    arrivals: dict[str, float] = field(default_factory=dict)
    """When each could be read, by event id."""
    by_event: dict[str, ChipInspected] = field(default_factory=dict)
    repeated: int = 0
    """Verdicts beyond a chip's first."""
    error: Exception | None = None
    """What ended their reading, where something did."""
    changed: threading.Condition = field(default_factory=threading.Condition)

    def add(self, verdict: ChipInspected, arrival: float) -> None:
        """Note a verdict and when it could be read."""
        with self.changed:
            self.repeated += verdict.event_id in self.arrivals
            self.arrivals[verdict.event_id] = arrival
            self.by_event[verdict.event_id] = verdict
            self.changed.notify_all()

    def fail(self, error: Exception) -> None:
        """Note that no more will come, and why."""
        with self.changed:
            self.error = error
            self.changed.notify_all()

    def clear(self) -> None:
        """Forget all."""
        with self.changed:
            self.arrivals.clear()
            self.by_event.clear()

    def wait_for(self, count: int) -> None:
        """Return once there are so many; raises `BenchmarkFailed` where they do not come, or cannot be read."""
        with self.changed:
            came = self.changed.wait_for(lambda: self.error or len(self.arrivals) >= count, PATIENCE_SECONDS)
            if self.error:
                raise BenchmarkFailed(f"the verdicts cannot be read any more: {self.error}") from self.error
            if not came:
                raise BenchmarkFailed(
                    f"{len(self.arrivals)} of {count} verdicts after {PATIENCE_SECONDS:.0f} s: see the services' logs"
                )

    def last_arrival(self) -> float:
        """When the last one could be read."""
        return max(self.arrivals.values())

    def latencies_ms(self) -> list[float]:
        """From each chip's capture until its verdict could be read."""
        captured = {event_id: verdict.captured_at.timestamp() for event_id, verdict in self.by_event.items()}
        return [(arrival - captured[event_id]) * 1000 for event_id, arrival in self.arrivals.items()]


@dataclass(frozen=True)
class Rig:
    """A line that runs."""

    work: Path
    """The folder that the stack of `own_stack` lies in."""
    line: Line
    producer: ImageProducer
    verdicts: Verdicts
    gateway_port: int
    """Where a gateway among the services listens, on this machine."""


@contextmanager
def own_stack(console: Console, *, full_compiler: bool = False) -> Iterator[Path]:
    """A folder to work in, and a stack that the environment points at as long as the benchmark runs.

    With the full compiler the broker has to be warmed up (`services.cli.benchmark.warming`).
    """
    with ExitStack() as cleanup:
        work = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="chipsieve-bench-")))
        console.print("starting a stack of its own …")
        addresses = stack.up(work / "stack", full_compiler=full_compiler)
        cleanup.callback(stack.down, work / "stack")
        # The benchmark's own addresses, whatever the caller's environment points at.
        point_here(addresses.env())
        yield work


@contextmanager
def running(work: Path, bundle: Bundle, services: Sequence[str] = STAGES) -> Iterator[Rig]:
    """The services on topics of their own, a producer into them and the verdicts out of them, judging by `bundle`."""
    settings = Settings(topic_prefix=f"bench-{uuid.uuid4().hex[:8]}-")
    BankStore(settings.redis).publish(bundle)  # before they start: without any bank they are not ready
    topics = load_topics(prefix=settings.topic_prefix)
    create_topics(settings.kafka, topics)
    registry = SchemaRegistry(settings.registry)
    registry.register_all(topics)
    topic = topics.topic_of(ChipInspected)
    consumer = Consumer(reader_config(settings.kafka, topics))
    consumer.assign([TopicPartition(topic.name, partition, 0) for partition in range(topic.partitions)])
    verdicts, ended, codec = Verdicts(), threading.Event(), Codec(registry, topics)

    def collect() -> None:
        try:
            while not ended.is_set():
                message = consumer.poll(0.1)
                if message is not None and not message.error():
                    verdicts.add(codec.decode(message.value(), ChipInspected), time.time())
        except Exception as error:  # whoever waits for verdicts is told, whatever it is
            verdicts.fail(error)

    collector = threading.Thread(target=collect, daemon=True)
    gateway_port = free_port()
    env = {"CHIPSIEVE_TOPIC_PREFIX": settings.topic_prefix, "CHIPSIEVE_GATEWAY__PORT": str(gateway_port)}
    with (
        Line(env, work / "logs", services) as line,
        ImageProducer(settings, delivery_timeout_ms=30_000) as producer,
    ):
        collector.start()
        try:
            yield Rig(work, line, producer, verdicts, gateway_port)
        finally:
            ended.set()
            collector.join()
            consumer.close()


def send(
    producer: ImageProducer,
    product: str,
    pictures: Iterable[bytes],
    *,
    interval: float | None,
    deadline_ms: int | None = None,
) -> None:
    """Send pictures, one every `interval` seconds (as fast as they go where None), and wait until Kafka has them.

    A picture counts as captured when it was due, whether or not it could be sent then: a stall is not left out.
    """
    pending: deque[Future[Stored]] = deque()
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
            deadline_ms=deadline_ms,
        )
        event = capture(identity, picture, max_image_bytes=producer.max_image_bytes)
        hand_over(event, producer, pending)
        while pending and pending[0].done():
            pending.popleft().result()
    for future in pending:
        future.result()


def throughput(rig: Rig, product: str, pictures: Sequence[bytes], console: Console) -> float:
    """Pictures a second that the line inspects when they come without a pause; forgets their verdicts.

    Raises `BenchmarkFailed`.
    """
    console.print(f"inspecting {THROUGHPUT_PICTURES} pictures as fast as they go …")
    for count in (64, THROUGHPUT_PICTURES):  # the first ones warm up
        rig.verdicts.clear()
        started = time.time()
        send(rig.producer, product, list(islice(cycle(pictures), count)), interval=None)
        rig.verdicts.wait_for(count)
    rate = THROUGHPUT_PICTURES / (rig.verdicts.last_arrival() - started)
    rig.verdicts.clear()
    return rate


def on_time(verdicts: Verdicts, event_id: str) -> bool:
    """Whether a chip with a deadline was inspected, and its verdict could be read before that."""
    verdict = verdicts.by_event[event_id]
    if verdict.verdict is Verdict.UNINSPECTED or verdict.verdict_by is None:
        return False
    return verdicts.arrivals[event_id] <= verdict.verdict_by.timestamp()


def readable(folder: Path) -> list[bytes]:
    """The encoded pictures below a folder that can be decoded; `BenchmarkFailed` where there is none."""
    found = []
    for file in find_pictures(folder):
        data = file.read()
        try:
            decode(data)
        except PictureError:
            continue
        found.append(data)
    if not found:
        raise BenchmarkFailed("not one of the pictures can be decoded: give a folder of JPEG or PNG pictures")
    return found


def bundle_of(pictures: Sequence[bytes], work: Path, precision: Precision | None = None) -> Path:
    """A bundle for the product ``benchmark``, trained on some of the pictures; below `work`.

    In the machine's best precision where none is given.
    """
    from services.trainer.train import train  # noqa: PLC0415 - it loads scipy, which no other command should wait for

    normal = work / "normal"
    normal.mkdir()
    step = max(1, len(pictures) // TRAINING_PICTURES)
    for index, data in enumerate(pictures[::step][:TRAINING_PICTURES]):
        # Pictures are recognised by their header; the suffix only says that this is one.
        (normal / f"{index:04}.png").write_bytes(data)
    # The usual recipe, whatever the pictures: the line is measured, not what it looks for.
    train(
        product="benchmark",
        normal=normal,
        out=work / "bundle",
        recipe=DEFAULT_RECIPE,
        precision=precision or best_precision("openvino"),
    )
    return work / "bundle"
