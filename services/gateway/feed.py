"""A folder's pictures → Kafka, as they are: what cannot be inspected, the pipeline rejects."""

import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from services.gateway.capture import capture, capture_by_reference, identify
from services.gateway.errors import GatewayBusy, GatewayError
from services.gateway.producer import ImageProducer, Stored
from shared.events import ImageCaptured
from shared.file_names import readable

# Someone may wait a minute for a broker that restarts; a feed should outlast that instead of losing its place.
DELIVERY_TIMEOUT_MS = 120_000
# Nobody waits for a single picture of a feed, and fuller requests cost the client less.
LINGER_MS = 20
# Names of the events of feeds that have a name.
EVENTS = uuid.UUID("0d0fe1a7-5f0e-4f0b-8a53-6d1f4f3c9e52")
# The client lets go of a picture a moment after it has told that it is stored.
RELEASE_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedOrder:
    """What is fed, as what, and how."""

    folder: Path
    """Chip ids are paths below it; from the second time on with ``#2``, ``#3``, …"""
    pictures: tuple[Path, ...]
    line_id: str
    product: str
    repeat: int = 1
    """How many times all pictures are sent."""
    rate: float | None = None
    """Pictures a second; None sends as fast as Kafka takes them."""
    deadline_ms: int | None = None
    """Verdicts are due this long after sending."""
    run: str | None = None
    """Name of the feed: the same chips fed again under the same name are the same events, and get no second verdict."""
    reference_root: Path | None = None
    """Where given, pictures go by reference to their files, which lie below it; else inline."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A picture that was not sent."""

    chip_id: str
    detail: str


@dataclass(frozen=True, slots=True)
class Fed:
    """What became of an order."""

    sent: int
    """Acknowledged by Kafka."""
    seconds: float
    """From the first picture to the last acknowledgement."""
    refused: tuple[Refused, ...]
    stopped: bool = False
    """By Ctrl-C, before all were sent."""


def feed(order: FeedOrder, producer: ImageProducer, on_progress: Callable[[int], None] = lambda _: None) -> Fed:
    """Send an order's pictures in order, and return when Kafka has acknowledged them.

    A picture that cannot be sent at all (too large to go inline, not readable, outside the root, of a name that can be
    no chip's id) is left out and named in the result. `on_progress` is told how many were sent so far. Ctrl-C ends it
    once Kafka has acknowledged what it was given.

    Raises:
        NotReady: broker or registry failed for longer than the producer tries; some pictures may have been stored.
    """
    started = time.monotonic()
    under_way: deque[Future[Stored]] = deque()
    refused: list[Refused] = []
    handed_over = 0
    stopped = False
    try:
        for index, (path, chip_id) in enumerate(_chips(order)):
            if order.rate is not None:
                time.sleep(max(0.0, started + index / order.rate - time.monotonic()))  # the pace that was asked for
            try:
                event = _event(order, path, chip_id, producer.max_image_bytes)
            except (GatewayError, OSError) as error:
                refused.append(Refused(readable(chip_id), readable(str(error))))
                continue
            hand_over(event, producer, under_way)
            handed_over += 1
            while under_way and under_way[0].done():
                _settle(under_way)
            on_progress(handed_over - len(under_way))
    except KeyboardInterrupt:
        stopped = True
    while under_way:
        _settle(under_way)
        on_progress(handed_over - len(under_way))
    return Fed(handed_over, time.monotonic() - started, tuple(refused), stopped)


def _chips(order: FeedOrder) -> Iterator[tuple[Path, str]]:
    for time_round in range(1, order.repeat + 1):
        for path in order.pictures:
            chip_id = path.relative_to(order.folder).as_posix()
            yield path, chip_id if time_round == 1 else f"{chip_id}#{time_round}"


def _event(order: FeedOrder, path: Path, chip_id: str, max_image_bytes: int) -> ImageCaptured:
    named = f"{order.run}\n{order.line_id}\n{order.product}\n{chip_id}"
    identity = identify(
        line_id=order.line_id,
        product=order.product,
        chip_id=chip_id,
        event_id=None if order.run is None else uuid.uuid5(EVENTS, readable(named)).hex,
        deadline_ms=order.deadline_ms,
    )
    if order.reference_root is not None:
        return capture_by_reference(identity, path, root=order.reference_root)
    with path.open("rb") as file:
        data = file.read(max_image_bytes + 1)
    return capture(identity, data, max_image_bytes=max_image_bytes)


def hand_over(event: ImageCaptured, producer: ImageProducer, under_way: deque[Future[Stored]]) -> None:
    """Hand an event to the producer and add it to those under way.

    While the producer's queue is full it waits for those. Raises as they fail.
    """
    while True:
        try:
            under_way.append(producer.publish(event))
        except GatewayBusy:
            if under_way:
                _settle(under_way)
            else:
                time.sleep(RELEASE_S)
        else:
            return


def _settle(under_way: deque[Future[Stored]]) -> None:
    under_way[0].result()  # still under way where Ctrl-C ends the wait
    under_way.popleft()
