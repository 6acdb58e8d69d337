"""One transaction a batch: its outputs and its input offsets take effect together, or not at all."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from threading import Event as Flag
from typing import Any, TypeVar

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from shared.stream.errors import ClientFailed, Fenced, OutputRefused, TransactionAborted
from shared.stream.record import Output
from shared.stream.step import Source

T = TypeVar("T")

# How long one call waits for the broker before the loop shows a sign of life and the call is made again. Must stay well
# below `vitals.STALLED_AFTER_S`.
CALL_TIMEOUT_S = 2.0
# Told to stop, a process has 5 s. A commit takes 10 ms where the broker is well; where it is not, the successor's
# `open` aborts what was left.
LAST_CALL_TIMEOUT_S = 0.5
GIVE_UP_AFTER_S = 1.0
BACK_OFF_S = (0.1, 0.2, 0.5, 1.0)  # the last one repeats; a broker that restarts is back in about 3 s
QUEUE_FULL_WAIT_S = 0.05  # a full send queue of 128 MiB empties at some 300 MB/s: look again after 15 MB

FENCED = {
    KafkaError._FENCED,
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.FENCED_INSTANCE_ID,
}

log = structlog.get_logger()


def back_off() -> Iterator[float]:
    """Seconds to wait before each further attempt, without end."""
    yield from BACK_OFF_S
    while True:
        yield BACK_OFF_S[-1]


class Transactions:
    """A transactional producer, one transaction at a time.

    While the broker cannot be reached a call is made again and again, `alive` called in between; but not for long once
    `stopping` is set.
    """

    def __init__(self, producer: Producer, *, alive: Callable[[], None], stopping: Flag, slot: str) -> None:
        self._producer = producer
        self._alive = alive
        self._stopping = stopping
        self._slot = slot
        self._give_up_at: float | None = None
        self._refused: set[Source] = set()
        self._refusal: KafkaException | None = None

    def open(self) -> None:
        """Take over the worker slot: a predecessor is fenced and what it left open is aborted.

        Raises `Fenced`, `ClientFailed`, and `TransactionAborted` where told to stop before the broker was reached.
        """
        try:
            self._persist(lambda: self._producer.init_transactions(self._timeout_s()), "init_transactions")
        except KafkaException as error:
            if error.args[0].retriable():
                raise TransactionAborted(f"broker not reached: {error.args[0].str()}") from error
            raise self._stopped(error) from error

    def commit(self, outputs: Collection[Output], topic: str, offsets: Mapping[int, int], group: Any) -> None:
        """Produce the outputs and move the group's offsets (the next to be read, by partition of `topic`), atomically.

        `group` is the consumer's group metadata: it lets the broker refuse offsets from a worker that is no longer a
        member. Raises `TransactionAborted` (of which `OutputRefused`), `Fenced`, `ClientFailed`.
        """
        self._refused.clear()
        self._refusal = None
        positions = [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]
        try:
            self._producer.begin_transaction()
            for output in outputs:
                self._produce(output)
            if positions:
                self._persist(
                    lambda: self._producer.send_offsets_to_transaction(positions, group, self._timeout_s()),
                    "send_offsets",
                )
            # Flushes, and fails where any record could not be delivered.
            self._persist(lambda: self._producer.commit_transaction(self._timeout_s()), "commit_transaction")
        except KafkaException as error:
            self._abort(error)
            if self._refused:
                places = ", ".join(map(str, self._refused))
                raise OutputRefused(f"the broker refused the outcome of {places} by its size", self._refused) from error
            raise TransactionAborted(f"transaction aborted: {error.args[0].str()}") from error

    def _produce(self, output: Output) -> None:
        def delivered(error: KafkaError | None, _message: Any) -> None:
            if error is not None and error.code() == KafkaError.MSG_SIZE_TOO_LARGE and output.source:
                self._refused.add(output.source)

        while True:
            try:
                self._producer.produce(
                    output.topic, output.value, output.key, headers=output.headers, on_delivery=delivered
                )
            except BufferError:
                self._alive()
                self._producer.poll(QUEUE_FULL_WAIT_S)
            except KafkaException as error:
                delivered(error.args[0], None)
                raise
            else:
                return

    def _abort(self, cause: KafkaException) -> None:
        if cause.args[0].fatal():
            raise self._stopped(cause) from cause
        try:
            self._persist(lambda: self._producer.abort_transaction(self._timeout_s()), "abort_transaction")
        except KafkaException as error:
            raise self._stopped(error) from cause

    def _persist(self, call: Callable[[], T], name: str) -> T:
        """Make a call until the broker answered it. The client goes on with the same request where it left off."""
        for wait_s in back_off():
            try:
                return call()
            except KafkaException as exception:
                error: KafkaError = exception.args[0]
                if not error.retriable() or error.fatal() or error.txn_requires_abort():
                    raise
                if self._stopping.is_set():
                    self._give_up_at = self._give_up_at or time.monotonic() + GIVE_UP_AFTER_S
                    if time.monotonic() + wait_s > self._give_up_at:
                        raise
                log.warning("broker_unavailable", call=name, error=error.str(), next_attempt_in_s=wait_s)
            self._alive()
            time.sleep(wait_s)
        raise AssertionError("back_off() never ends")

    def _timeout_s(self) -> float:
        """How long the next call may wait: less where the process has to end."""
        return LAST_CALL_TIMEOUT_S if self._stopping.is_set() else CALL_TIMEOUT_S

    def _stopped(self, error: KafkaException) -> Fenced | ClientFailed:
        cause: KafkaError = error.args[0]
        if cause.code() in FENCED:
            return Fenced(
                f"another process has taken the worker slot {self._slot} ({cause.str()}); each process of a stage "
                "needs its own CHIPSIEVE_STREAM__WORKER"
            )
        return ClientFailed(f"the Kafka client cannot go on: {cause.name()}: {cause.str()}")
