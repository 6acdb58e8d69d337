"""How records come in: polling that never waits for work in flight, and fetches no more than there is room for."""

import math
import time
from collections.abc import Collection
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException

from shared import metrics
from shared.kafka import explained
from shared.stream.batch import Buffer
from shared.stream.errors import ClientFailed
from shared.stream.partitions import Partitions
from shared.stream.record import Received
from shared.stream.vitals import Vitals

IDLE_POLL_S = 0.25  # nothing to do: a record ends the wait at once, so only stopping and the tick have to wait for it
# Worker or commit are busy: what the batch in flight waits for ends the wait at once; in between the client's queue is
# emptied. Where none is in flight, only the commit's end has to wait for it, and nothing hangs on that.
BUSY_POLL_S = 0.02
FULL_WAIT_S = 0.05  # … and there is no room for more: only rebalances have to wait for it
# The buffer is full and the worker still busy: after this, partitions are paused so that polling (and with it
# rebalances) goes on without records. Not at once, because pausing throws away what the client fetched ahead, and the
# usual batch is done sooner.
PAUSE_AFTER_S = 0.5

# The client cuts a wait down to whole milliseconds: for less than one it would be asked over and over meanwhile.
CLIENT_TICK_S = 0.001

# Errors that the client reports once and then goes on asking in silence.
REFUSED = {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED}

log = structlog.get_logger()


class Intake:
    """Polls the consumer into the buffer. Used by the main thread; rebalances happen within `receive`."""

    def __init__(
        self, consumer: Consumer, partitions: Partitions, buffer: Buffer, vitals: Vitals, *, stage: str
    ) -> None:
        self._consumer = consumer
        self._partitions = partitions
        self._buffer = buffer
        self._vitals = vitals
        self._stage = stage
        self._polled_at = time.monotonic()

    def receive(
        self, awaited: Collection[Future[Any]], *, held_until: float, quick: bool, retry_at: float = math.inf
    ) -> None:
        """Wait for records or for what is in flight, whichever comes first, and buffer what came.

        Args:
            awaited: what the batch in flight waits for; the first of these to end ends the wait. Without any, a
                record does.
            held_until: no batch is begun before this (monotonic, in seconds).
            quick: whether something else is waited for, so that an idle poll must be short.
            retry_at: when there is a record to try again, whatever comes (monotonic, in seconds).

        Raises:
            ClientFailed: the client cannot go on.
        """
        now = time.monotonic()
        room = self._buffer.room
        if awaited:
            wait(awaited, BUSY_POLL_S if room else FULL_WAIT_S, FIRST_COMPLETED)
            records, timeout_s = room, 0.0
        elif now < held_until:
            records, timeout_s = 1, min(held_until - now, IDLE_POLL_S)
        elif (fills_in := self._buffer.fills_in()) is not None:
            records, timeout_s = self._buffer.missing(), _in_ticks(min(fills_in, retry_at - now))
        else:
            records, timeout_s = 1, _in_ticks(min(BUSY_POLL_S if quick else IDLE_POLL_S, retry_at - now))

        if now < held_until:
            self._partitions.pause()
        elif room:
            self._partitions.resume()
        elif now - self._polled_at > PAUSE_AFTER_S:
            self._partitions.pause()
            records = 1
        if records:
            self._poll(records, timeout_s, lingered=bool(awaited))

    def _poll(self, records: int, timeout_s: float, *, lingered: bool) -> None:
        self._partitions.seek()
        try:
            messages = self._consumer.consume(records, timeout_s)
        except KafkaException as error:
            raise ClientFailed(f"the Kafka client cannot go on: {explained(error.args[0])}") from error
        self._polled_at = time.monotonic()
        received = []
        for message in messages:
            if message.error():
                self._note(message.error())
            elif self._partitions.takes(message.partition(), message.offset()):
                received.append(Received.from_message(message))
        # What comes while the worker is busy has waited for it already: it need not linger when the worker is free.
        self._buffer.add(received, lingered=lingered)
        metrics.BUFFERED.labels(self._stage).set(len(self._buffer))

    def _note(self, error: KafkaError) -> None:
        """An error that the client reports and goes on from by itself, unless it says that it cannot."""
        if error.fatal():
            raise ClientFailed(f"the Kafka client cannot go on: {explained(error)}")
        # Of a topic of which it has partitions, a broker that starts may say so in passing.
        missing = error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART and not self._partitions.owned
        if missing or error.code() in REFUSED:
            self._vitals.no_subscription_because = explained(error)
        log.warning("kafka_error", error=error.name(), detail=error.str())


def _in_ticks(seconds: float) -> float:
    return max(0, math.ceil(seconds / CLIENT_TICK_S)) * CLIENT_TICK_S
