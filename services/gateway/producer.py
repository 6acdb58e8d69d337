"""Puts ImageCaptured events into Kafka and tells where they lie, once Kafka has acknowledged them."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from services.gateway.capture import oversize
from services.gateway.errors import GatewayBusy
from shared import tracing
from shared.errors import ChipsieveError, ConfigurationError
from shared.events import ImageCaptured
from shared.identity import headers_of
from shared.kafka import ADMIN_TIMEOUT_S, BrokerUnavailable, producer_config, remedy, unavailable
from shared.settings import Settings
from shared.topics import load_topics
from shared.wire.codec import Codec
from shared.wire.registry import SchemaRegistry

POLL_S = 0.1  # bounds how long `close` waits for the polling thread; a delivery report wakes it at once
METADATA_TIMEOUT_S = 2.0  # a broker answers in milliseconds; a readiness probe must not wait longer than its own limit
# Of connections librdkafka's own log tells; these come again at each attempt.
CONNECTIONS = {KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN}

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Stored:
    """Where an event lies."""

    event_id: str
    topic: str
    partition: int
    offset: int


class ImageProducer:
    """An idempotent producer of ImageCaptured, acknowledged by all in-sync replicas. Safe to use from many threads.

    Args:
        settings: where broker and registry are.
        delivery_timeout_ms: how long an event is tried before it counts as not stored.
        linger_ms: how long the client waits for company in a request. Not at all where somebody waits for every
            picture: under load requests fill while earlier ones are under way.
        on_fatal: called where this producer can never send again.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        delivery_timeout_ms: int,
        linger_ms: int = 0,
        on_fatal: Callable[[], None] = lambda: None,
    ) -> None:
        topics = load_topics(prefix=settings.topic_prefix)
        self.max_image_bytes = topics.max_image_bytes
        self._settings = settings
        self._topic = topics.topic_of(ImageCaptured)
        self._codec = Codec(SchemaRegistry(settings.registry), topics)
        config = producer_config(settings.kafka, topics, linger_ms=linger_ms, delivery_timeout_ms=delivery_timeout_ms)
        self.fatal_error: str | None = None
        """Why this producer can never send again, where that is so: the process must be started anew."""
        self._on_fatal = on_fatal
        self._producer = Producer({**config, "error_cb": self._on_error}, logger=logging.getLogger("librdkafka"))
        self._closing = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="image-producer", daemon=True)
        self._poller.start()

    def publish(self, event: ImageCaptured) -> Future[Stored]:
        """Hand an event to the client; the future is done when Kafka has acknowledged it.

        The future fails with `BrokerUnavailable` where that did not happen in time, and with `OversizeImage`.

        Raises:
            GatewayBusy: the client's queue is full; wait for earlier futures and try again.
            NotReady: the registry cannot be reached, or lacks the schema.
            UnwritableEvent: the event has a value its schema cannot carry.
        """
        future: Future[Stored] = Future()
        future.set_running_or_notify_cancel()  # from here on nobody can cancel it: Kafka may have it

        size = len(event.image_bytes or b"")

        def on_delivery(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                future.set_exception(self._failure(error, size))
            else:
                if trace:
                    about = {"chipsieve.event_id": event.event_id, "chipsieve.line": event.line_id}
                    tracing.span("gateway", trace, start=began, end=datetime.now(UTC), attributes=about)
                future.set_result(Stored(event.event_id, message.topic(), message.partition(), message.offset()))

        value = self._codec.encode(event)
        trace = tracing.begin(event.event_id)
        began = datetime.now(UTC)
        headers = [*headers_of(event), *([tracing.to_header(trace)] if trace else [])]
        try:
            self._producer.produce(
                self._topic.name,
                value=value,
                key=event.line_id.encode(),
                headers=headers,
                on_delivery=on_delivery,
            )
        except BufferError as error:
            raise GatewayBusy("Kafka takes pictures slower than they come, and the queue is full: try again") from error
        except KafkaException as error:
            raise self._failure(error.args[0], size) from error
        return future

    def not_ready_because(self) -> str | None:
        """Why no picture could be stored now, or None when one could: asks the broker and, once, the registry."""
        if self.fatal_error:
            return self.fatal_error
        try:
            self.ask(METADATA_TIMEOUT_S)
        except ChipsieveError as error:
            return str(error)
        return None

    def ask(self, timeout_s: float = ADMIN_TIMEOUT_S) -> None:
        """Ask the broker and, once, the registry whether a picture could be stored now.

        Raises:
            NotReady: one of them cannot be reached, or the registry lacks the schema.
            ConfigurationError: there is no topic.
        """
        self._codec.prepare()
        try:
            metadata = self._producer.list_topics(self._topic.name, timeout=timeout_s)
        except KafkaException as error:
            raise unavailable(self._settings.kafka, error) from error
        if missing := metadata.topics[self._topic.name].error:
            what_to_do = remedy(self._settings.kafka, missing, "run `chipsieve topics create`")
            raise ConfigurationError(f"topic {self._topic.name}: {missing.str()}; {what_to_do}")

    def close(self) -> None:
        """Return when everything handed over is acknowledged or given up."""
        if self._asked(self._producer.flush) is None:  # ends by itself: every record has its delivery timeout
            self._asked(self._producer.flush)
        self._closing.set()
        self._poller.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _poll(self) -> None:
        while not self._closing.is_set():
            self._asked(lambda: self._producer.poll(POLL_S))

    def _asked(self, call: Callable[[], int]) -> int | None:
        """What the client answers; None where it told instead that it cannot go on, which it does once.

        It tells that by raising from whatever serves its callbacks, and not by `error_cb`. What is under way still gets
        its report from the calls that follow: were there none, whoever waits for it would wait for ever.
        """
        try:
            return call()
        # The second where it had a line to log meanwhile (confluent-kafka-python, issue 1708).
        except (KafkaException, SystemError) as error:
            told = error.args[0].str() if isinstance(error, KafkaException) else str(error)
            self.fatal_error = f"the Kafka producer failed for good: {told}"
            log.critical("producer_failed", error=told)
            self._on_fatal()
            return None

    def _on_error(self, error: KafkaError) -> None:
        if error.code() not in CONNECTIONS:
            log.warning("kafka_error", error=error.str())

    def _failure(self, error: KafkaError, image_bytes: int) -> ChipsieveError:
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            return oversize(image_bytes, self.max_image_bytes)
        kafka = self._settings.kafka
        usual = "check that it runs, CHIPSIEVE_KAFKA__BOOTSTRAP_SERVERS and `chipsieve topics create`, then send again"
        return BrokerUnavailable(
            f"not acknowledged by Kafka at {kafka.bootstrap_servers} ({error.str()}): {remedy(kafka, error, usual)}"
        )
