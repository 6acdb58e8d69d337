"""Cameras of the demo: one posts its pictures to the gateway, one hands them to Kafka as a folder feed does."""

import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx

from services.cli.demo.pictures import BeltChip
from services.cli.demo.tally import SentChip
from services.gateway.capture import capture, identify
from services.gateway.producer import ImageProducer

HTTP_TIMEOUT_SECONDS = 30.0  # the gateway itself answers within its delivery timeout

Deliver = Callable[[BeltChip, str, datetime], None]
"""Hands a chip with its event id and time over; returns when Kafka has acknowledged it."""


@dataclass(frozen=True, slots=True)
class DemoLine:
    """A production line of the demo."""

    line_id: str
    product: str


def by_http(line: DemoLine, gateway: str) -> Deliver:
    """A camera that posts to the gateway at this address."""
    client = httpx.Client(base_url=gateway, timeout=HTTP_TIMEOUT_SECONDS, trust_env=False)

    def deliver(chip: BeltChip, event_id: str, captured_at: datetime) -> None:
        about = {
            "line": line.line_id,
            "product": line.product,
            "chip": chip.chip_id,
            "event_id": event_id,
            "captured_at": captured_at.isoformat(),
        }
        client.post("/v1/images", params=about, content=chip.data).raise_for_status()

    return deliver


def by_kafka(line: DemoLine, producer: ImageProducer) -> Deliver:
    """A camera that writes to Kafka itself."""

    def deliver(chip: BeltChip, event_id: str, captured_at: datetime) -> None:
        identity = identify(
            line_id=line.line_id,
            product=line.product,
            chip_id=chip.chip_id,
            event_id=event_id,
            captured_at=captured_at,
        )
        producer.publish(capture(identity, chip.data, max_image_bytes=producer.max_image_bytes)).result()

    return deliver


class Camera:
    """Takes a line's pictures at a steady rate, on a thread of its own.

    Args:
        chips: what comes along the belt; ends the line where it ends.
        deliver: where pictures go.
        interval: seconds between two chips.
        stopping: set to end early.
    """

    def __init__(self, chips: Iterable[BeltChip], deliver: Deliver, interval: float, stopping: threading.Event) -> None:
        self._chips = chips
        self._deliver = deliver
        self._interval = interval
        self._stopping = stopping
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)
        self.sent: dict[str, SentChip] = {}
        """Acknowledged chips by event id."""
        self.belt: dict[str, BeltChip] = {}
        """The same, with their pictures."""
        self.error: Exception | None = None
        """Why the camera gave up, if it did."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether more chips may come."""
        return self._thread.is_alive()

    def join(self) -> None:
        """Return when the last picture is acknowledged."""
        self._thread.join()

    def _run(self) -> None:
        due = time.monotonic()
        try:
            for chip in self._chips:
                if self._stopping.wait(max(0.0, due - time.monotonic())):
                    return
                due += self._interval
                event_id, captured_at = uuid.uuid4().hex, datetime.now(UTC)
                # Noted before it is handed over: a verdict may be there before the acknowledgement is.
                self.belt[event_id] = chip
                self._deliver(chip, event_id, captured_at)
                self.sent[event_id] = SentChip(event_id, chip.defect is not None, captured_at.timestamp())
        except Exception as error:  # the main thread raises it
            self.error = error
