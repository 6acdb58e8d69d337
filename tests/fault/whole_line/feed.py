"""Sends the chips, at a steady pace, on a thread of its own, whatever happens to the broker."""

import logging
import threading
from collections.abc import Sequence

from confluent_kafka import KafkaError, Message, Producer

from shared.identity import identity_of, to_headers
from shared.kafka import producer_config
from shared.settings import Settings
from shared.topics import Topics
from shared.wire.codec import Codec
from tests.fault.whole_line.chips import Chip, Kind
from tests.fault.whole_line.replica import NotInTime, wait_for

DELIVERY_MS = 300_000  # a camera that gives up would lose chips before they are in the line
CLIENT_LOG = logging.getLogger("chipsieve.tests.feed")  # a broker that is away is no news here
CLIENT_LOG.addHandler(logging.NullHandler())
CLIENT_LOG.propagate = False
GARBAGE = b"\xde\xad\xbe\xef" * 8


class Feed:
    """Sends chips from the first on, up to where it is told to go.

    Args:
        settings: where broker and topics are.
        topics: the run's topics.
        codec: whose schema ids are known already, since the registry may be away.
        chips: what to send; some may stand there twice.
        per_second: the pace; None for as fast as can be.
    """

    def __init__(
        self, settings: Settings, topics: Topics, codec: Codec, chips: Sequence[Chip], per_second: float | None
    ) -> None:
        config = producer_config(settings.kafka, topics, delivery_timeout_ms=DELIVERY_MS)
        self._producer = Producer(config, logger=CLIENT_LOG)
        self._topic = topics.by_name["images"].name
        self._codec = codec
        self._chips = chips
        self._interval_s = 1 / per_second if per_second else 0.0
        self._may_send = 0
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        self.sent = 0
        self.stored = 0

    def __enter__(self) -> "Feed":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopping.set()
        self._thread.join()

    def allow(self, count: int) -> None:
        """Let it go on until that many chips have been sent."""
        self._may_send = min(count, len(self._chips))

    def wait_until_sent(self, count: int) -> None:
        """Return when that many chips have been sent, acknowledged or not."""
        wait_for(lambda: self._failure or self.sent >= count, f"{count} chips to be sent")
        self._raise_failure()

    def finish(self) -> None:
        """Send the rest; return when Kafka has acknowledged every chip."""
        self.allow(len(self._chips))
        self._thread.join()
        self._raise_failure()
        if self.stored != len(self._chips):
            raise NotInTime(f"Kafka acknowledged {self.stored} of {len(self._chips)} chips")

    def _run(self) -> None:
        try:
            while self.sent < len(self._chips) and not self._stopping.is_set():
                if self.sent < self._may_send:
                    self._send(self._chips[self.sent])
                    self.sent += 1
                    self._producer.poll(self._interval_s)
                else:
                    self._producer.poll(0.02)
            while self._producer.flush(1.0) and not self._stopping.is_set():
                pass
        except BaseException as error:
            self._failure = error

    def _send(self, chip: Chip) -> None:
        event = chip.event
        value = GARBAGE if chip.kind is Kind.NO_EVENT else self._codec.encode(event)
        while True:
            try:
                self._producer.produce(
                    self._topic, value, event.line_id, headers=to_headers(identity_of(event)), on_delivery=self._note
                )
            except BufferError:
                self._producer.poll(0.1)
            else:
                return

    def _note(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failure = NotInTime(f"a chip was not stored: {error.str()}")
        else:
            self.stored += 1

    def _raise_failure(self) -> None:
        if self._failure:
            raise self._failure
