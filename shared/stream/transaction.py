"""One transaction a batch: its outputs and its input offsets take effect together, or not at all."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import wait
from contextlib import suppress
from threading import Event as Flag
from typing import Any, TypeVar

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from shared.kafka import REFUSALS, explained
from shared.stream.errors import ClientFailed, Fenced, OutcomeUnknown, OutputRefused, TransactionAborted
from shared.stream.record import TOMBSTONE, Output
from shared.stream.step import Source
from shared.stream.worker import Worker

T = TypeVar("T")

# How long one call waits for the broker before the loop shows a sign of life and the call is made again. Must stay well
# below `vitals.STALLED_AFTER_S`, and let a process that is told to stop end within 5 s.
CALL_TIMEOUT_S = 2.0
SIGN_OF_LIFE_S = 0.5  # how often a call on another thread is looked at
BACK_OFF_S = (0.1, 0.2, 0.5, 1.0)  # the last one repeats; a broker that restarts is back in about 3 s
# A call that comes back this much later than it was to: the broker was not away, this process was stopped. Whoever
# watches over it may have started another one in its slot, which it must not take back.
STOOD_STILL_S = 4.0
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
    """A transactional producer, one transaction at a time. Used by one thread at a time.

    `member` is what the consumer knows of its membership: it lets the broker refuse offsets from a worker that is no
    longer a member. It is handed in, since the consumer answers nobody while another thread polls it: asked from here
    during a rebalance, which waits for the commit, it would never answer.

    Once a call has failed because the broker was away, the producer is replaced by a new one: librdkafka 2.16 may then
    block for ever in `send_offsets_to_transaction` whatever its timeout (its issue 5456), and be fenced by the broker,
    which ends a transaction by itself when it has been open for too long.
    """

    def __init__(
        self,
        new_producer: Callable[[], Producer],
        *,
        alive: Callable[[], None],
        stopping: Flag,
        slot: str,
        topic: str,
        outputs: Collection[tuple[str, int]],
        patience_s: float,
    ) -> None:
        """Move a group's offsets on `topic`, and write to `outputs`, which are topics and partitions.

        `alive` is called while a call takes long; `patience_s` is how long a transaction waits for a broker that is
        away before another producer begins it again.
        """
        self._new_producer = new_producer
        self._alive = alive
        self._stopping = stopping
        self._slot = slot
        self._topic = topic
        self._outputs = outputs
        self._patience_s = patience_s
        self._producer = new_producer()
        self._sender = Worker("send-offsets")
        self._member: Any = None
        self._refused: set[Source] = set()
        self._forbidden: dict[str, str] = {}
        """Topics that the producer's user may not write to → what the broker said."""
        self._was_away = False  # the broker, during this transaction
        self._stood_still = False  # this process, during this transaction

    def open(self, member: Any) -> bool:
        """Take over the worker slot: a predecessor is fenced and what it left open is aborted.

        Tries until the broker is reached; False where told to stop before. Raises `Fenced`, `ClientFailed`.
        """
        self._member = member
        while True:
            patience = time.monotonic() + self._patience_s
            try:
                self._persist(lambda: self._producer.init_transactions(CALL_TIMEOUT_S), "init_transactions", patience)
                self._end_what_was_left_open(patience)
            except KafkaException as error:
                if not _broker_away(error):
                    raise self._stopped(error) from error
                # Also where the broker is back: a client that asked while it was starting may never hear of it.
                if not self._replace_producer(error):
                    return False
            else:
                return True

    def commit(
        self, outputs: Collection[Output], offsets: Mapping[int, int], notes: Mapping[int, str], member: Any
    ) -> None:
        """Produce the outputs and move the group's offsets (the next to be read, by partition), atomically.

        `notes` are put beside the offsets of their partitions, in place of those before.

        Raises `TransactionAborted` (of which `OutputRefused`), `OutcomeUnknown`, `Fenced`, `ClientFailed`.
        """
        self._member = member
        self._refused.clear()
        self._forbidden.clear()
        self._was_away = self._stood_still = False
        patience = time.monotonic() + self._patience_s
        try:
            self._producer.begin_transaction()
            for output in outputs:
                self._produce(output)
            if offsets:
                self._send_offsets(offsets, notes)
            # Flushes, and fails where any record could not be delivered.
            self._persist(lambda: self._producer.commit_transaction(CALL_TIMEOUT_S), "commit_transaction", patience)
        except KafkaException as error:
            self._abort(error, patience)
            if self._refused:
                places = ", ".join(map(str, self._refused))
                raise OutputRefused(f"the broker refused the outcome of {places} by its size", self._refused) from error
            said = [f"cannot write to {topic}: {why}" for topic, why in self._forbidden.items()]
            raise TransactionAborted(f"transaction aborted: {'; '.join(said) or error.args[0].str()}") from error

    def _produce(self, output: Output) -> None:
        def delivered(error: KafkaError | None, _message: Any) -> None:
            if error is None:
                return
            if error.code() == KafkaError.MSG_SIZE_TOO_LARGE and output.source:
                self._refused.add(output.source)
            elif error.code() in REFUSALS:
                self._forbidden[output.topic] = explained(error)

        began = time.monotonic()
        while True:
            try:
                self._producer.produce(
                    output.topic,
                    None if output.value == TOMBSTONE else output.value,  # compaction knows it by having no value
                    output.key,
                    partition=output.partition,
                    headers=output.headers,
                    on_delivery=delivered,
                )
            except BufferError:
                # Else the client gives up by itself, once the records have waited for the transaction's timeout.
                if self._stopping.is_set() and time.monotonic() - began >= CALL_TIMEOUT_S:
                    reason = f"the send queue has been full for {CALL_TIMEOUT_S:g} s"
                    raise KafkaException(KafkaError(KafkaError._TIMED_OUT, reason, retriable=True)) from None
                self._alive()
                self._asked(lambda: self._producer.poll(QUEUE_FULL_WAIT_S))
            except KafkaException as error:
                delivered(error.args[0], None)
                if error.args[0].code() == KafkaError._UNKNOWN_PARTITION:
                    self._look_up(output.topic)
                raise
            else:
                return

    def _look_up(self, topic: str) -> None:
        """Hear of partitions that were added, before the batch is tried again: the client looks every five minutes."""
        with suppress(KafkaException):  # without an answer now, the next try asks again
            self._producer.list_topics(topic, CALL_TIMEOUT_S)

    def _end_what_was_left_open(self, patience: float) -> None:
        """Abort a transaction with records in every partition that this slot may have written to, and with offsets.

        Brokers of Kafka 4.3 and 4.4 that start again leave partitions out whose leader they do not know yet when they
        end what was prepared (KAFKA-20734). Open records hold up every reader for ever, and pending offsets keep every
        member from being told where to begin, until the same producer ends another transaction there.

        A process that is killed in here leaves open what it began: readers of these partitions wait until its successor
        in the slot comes by here, or the broker ends the transaction by its timeout.
        """
        self._producer.begin_transaction()
        for topic, partition in self._outputs:
            self._producer.produce(topic, None, b"", partition=partition)
        unsent = self._asked(lambda: self._producer.flush(CALL_TIMEOUT_S))
        if unsent:  # the abort would throw them away before the broker knows
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "records not acknowledged in time", retriable=True))
        try:
            self._send_offsets({0: 0}, {})
        except KafkaException as error:
            if _broker_away(error):
                raise
            log.debug("offsets_refused", error=error.args[0].str())  # not a member yet; the abort is told all the same
        self._persist(lambda: self._producer.abort_transaction(CALL_TIMEOUT_S), "abort_transaction", patience)

    def _send_offsets(self, offsets: Mapping[int, int], notes: Mapping[int, str]) -> None:
        """On a thread of its own, since the call may not return."""
        positions = [
            TopicPartition(self._topic, partition, offset, notes.get(partition, ""))
            for partition, offset in offsets.items()
        ]
        sent = self._sender.submit(self._producer.send_offsets_to_transaction, positions, self._member, CALL_TIMEOUT_S)
        waited_s = 0.0
        began = time.monotonic()
        try:
            while not wait([sent], SIGN_OF_LIFE_S).done:
                waited_s += SIGN_OF_LIFE_S
                self._alive()
                if waited_s >= self._patience_s or (self._stopping.is_set() and waited_s >= CALL_TIMEOUT_S):
                    reason = f"no answer to send_offsets_to_transaction within {waited_s:g} s"
                    raise KafkaException(KafkaError(KafkaError._TIMED_OUT, reason, retriable=True))
            self._asked(sent.result)
        finally:
            self._stood_still |= time.monotonic() - began - waited_s > STOOD_STILL_S

    def _abort(self, cause: KafkaException, patience: float) -> None:
        """Leave the producer fit for the next transaction. Returns if the broker confirmed that nothing took effect."""
        error = cause
        if not _broker_away(cause) and not cause.args[0].fatal():
            try:
                self._persist(lambda: self._producer.abort_transaction(CALL_TIMEOUT_S), "abort_transaction", patience)
            except KafkaException as failed:
                error = failed
            else:
                return
        if self._stood_still:
            raise Fenced(
                f"this process was stopped for a while during a transaction ({error.args[0].str()}); another one may "
                f"have taken the worker slot {self._slot} meanwhile: start it again"
            ) from cause
        if not _broker_away(error) and not self._was_away:
            raise self._stopped(error) from cause
        if self._replace_producer(error):
            self.open(self._member)
        raise OutcomeUnknown(f"the broker went away during a transaction: {error.args[0].str()}") from cause

    def _replace_producer(self, because: KafkaException) -> bool:
        """Have a new producer, not open yet; False where told to stop."""
        for wait_s in back_off():
            if self._stopping.is_set():
                return False
            try:
                self._producer = self._new_producer()
                break
            except KafkaException as error:  # its file of certificates cannot be read now
                log.warning("producer_not_made", error=error.args[0].str(), next_attempt_in_s=wait_s)
            self._alive()
            time.sleep(wait_s)  # nothing tells when the file can be read
        log.warning("producer_replaced", because=because.args[0].str())
        self._sender.close(0.0)  # ends once its call returns, should it ever
        self._sender = Worker("send-offsets")
        return True

    def _persist(self, call: Callable[[], T], name: str, patience: float) -> T:
        """Make a call until the broker answered it, or patience (monotonic) is over.

        The client goes on with the same request where it left off.
        """
        for wait_s in back_off():
            began = time.monotonic()
            try:
                return self._asked(call)
            except KafkaException as exception:
                if not _broker_away(exception):
                    raise
                self._was_away = True
                self._stood_still |= time.monotonic() - began - CALL_TIMEOUT_S > STOOD_STILL_S
                if self._stopping.is_set() or time.monotonic() + wait_s > patience:
                    raise
                log.warning("broker_unavailable", call=name, error=exception.args[0].str(), next_attempt_in_s=wait_s)
            self._alive()
            time.sleep(wait_s)
        raise AssertionError("back_off() never ends")

    def _asked(self, call: Callable[[], T]) -> T:
        """What the client answers, its failure always a `KafkaException`.

        The client raises what it cannot go on from in the middle of a call, and where it then has another line to log,
        that fails over the exception that is under way (confluent-kafka-python, issue 1708). What was wrong it still
        says when it is asked for something else.
        """
        try:
            return call()
        except SystemError as error:
            self._producer.begin_transaction()  # raises where it cannot go on
            raise KafkaException(KafkaError(KafkaError._FATAL, f"its call failed: {error}", fatal=True)) from error

    def _stopped(self, error: KafkaException) -> Fenced | ClientFailed:
        cause: KafkaError = error.args[0]
        if cause.code() in FENCED:
            return Fenced(
                f"another process has taken the worker slot {self._slot} ({cause.str()}); each process of a stage "
                "needs its own CHIPSIEVE_STREAM__WORKER"
            )
        return ClientFailed(f"the Kafka client cannot go on: {explained(cause)}")


def _broker_away(error: KafkaException) -> bool:
    cause: KafkaError = error.args[0]
    return cause.retriable() and not cause.fatal() and not cause.txn_requires_abort()
