"""A stage as a process: settings in, exit status out.

`run` is what a service's ``__main__`` enters (`shared.stream.entry`). `Service` is the same for a caller that ends it
itself.
"""

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import wait
from threading import Event as Flag
from types import FrameType
from typing import Generic, TypeVar

import structlog
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from shared import tracing
from shared.errors import ConfigurationError, NotReady
from shared.identity import ChipEvent
from shared.kafka import admin_config, consumer_config, past_reader_config, transactional_producer_config
from shared.settings import ServiceSettings
from shared.stream import report
from shared.stream.admin import AdminServer
from shared.stream.errors import ExitStatus, StageStopped
from shared.stream.input_topic import InputTopic
from shared.stream.judgement import Judge
from shared.stream.lag import Lag
from shared.stream.loop import Loop
from shared.stream.membership import Coordinator, Given, Membership
from shared.stream.partitions import Partitions
from shared.stream.recall import PastReader
from shared.stream.step import Step
from shared.stream.topics_there import check_topics
from shared.stream.transaction import Transactions, back_off
from shared.stream.vitals import Vitals
from shared.stream.worker import Worker
from shared.topics import Topic, Topics, load_topics
from shared.wire.codec import Codec
from shared.wire.registry import SchemaRegistry

E = TypeVar("E", bound=ChipEvent)

CLOSE_BUDGET_S = 1.0  # what is left of SIGTERM's 5 s after draining, for the step to release what it took
# How long one transaction waits for a broker that is away; then it is begun again, by a producer that is not confused.
BROKER_PATIENCE_S = 10.0
# Waiting for the flag itself would hold its lock for moments in which a signal's handler, on this same thread, sets it.
STOP_POLL_S = 0.05
GROUP_STATE_MS = 2000  # how often the client tells whether the group's coordinator answers

CLIENT_LOG = logging.getLogger("librdkafka")
log = structlog.get_logger()


def run(step: Step[E], settings: ServiceSettings) -> int:
    """Run a stage until SIGTERM or SIGINT, or until it cannot go on; the process's exit status (`ExitStatus`).

    Raises `ConfigurationError` where traces cannot be sent as the settings say.
    """
    tracing.configure(settings.trace, step.name)
    service = Service(step, settings)

    def stop(number: int, _frame: FrameType | None) -> None:
        # Nothing else: the signal may interrupt whoever holds a lock, as the log does while it writes a line.
        service.stop(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    try:
        status = service.run()
    finally:
        tracing.shutdown()
    if service.left_worker_behind:
        # The interpreter would wait for the threads that the worker uses, and abort where one comes back from C++.
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


class Service(Generic[E]):
    """One stage: its step, its loop, its admin port."""

    def __init__(self, step: Step[E], settings: ServiceSettings) -> None:
        self._step = step
        self._settings = settings
        self._stopping = Flag()
        self.vitals = Vitals(step.not_ready_because, degraded_because=step.degraded_because)
        self._signal: int | None = None
        self.admin_port: int | None = None
        """Once it is open."""
        self.left_worker_behind = False
        """Whether the worker was still at a batch when `run` returned."""

    @property
    def slot(self) -> str:
        """The stage's and worker's name: unique among all processes that use the cluster, and the transactional id."""
        return f"{self.group}-{self._settings.stream.worker}"

    @property
    def group(self) -> str:
        """The stage's consumer group."""
        return f"{self._settings.topic_prefix}chipsieve-{self._step.name}"

    def stop(self, number: int | None = None) -> None:
        """Have `run` drain and return, because of that signal; from any thread or signal handler."""
        self._signal = number
        self._stopping.set()

    def run(self) -> int:
        """Open, loop, drain, close."""
        report.begun(self._step.name)
        try:
            self._run()
        except StageStopped as error:
            log.error("stopped", exit_status=error.exit_status.name, reason=str(error))
            return error.exit_status
        except ConfigurationError as error:
            log.error("misconfigured", reason=str(error))
            return ExitStatus.MISCONFIGURED
        except Exception:  # whatever ends the stage, its process ends with a status and a line in the log
            log.exception("failed")
            return ExitStatus.FAILED
        log.info("drained", signal=signal.Signals(self._signal).name if self._signal else None)
        return ExitStatus.DRAINED

    def _run(self) -> None:
        topics = load_topics(prefix=self._settings.topic_prefix)
        admin = AdminServer(self._settings.admin, self.vitals, self._step.name)
        self.admin_port = admin.port
        admin.start()
        worker = Worker(self._step.name)
        log.info("starting", admin_port=admin.port, group=self.group, slot=self.slot)
        try:
            codec = Codec(SchemaRegistry(self._settings.registry), topics)
            judge = Judge(self._step, codec, topics, remembered_chips=self._settings.stream.remembered_chips)
            # Models first, partitions second: until this worker can judge, others keep them.
            if self._open(worker, codec, [topics.topic_of(self._step.consumes), *judge.outputs]):
                self._loop(worker, codec, topics, judge)
            else:
                log.info("stopping")
        finally:
            self.vitals.draining = True
            worker.submit(self._step.close)
            if not worker.close(CLOSE_BUDGET_S):
                self.left_worker_behind = True
                log.warning("worker_left_behind", waited_s=CLOSE_BUDGET_S)
            admin.close()

    def _open(self, worker: Worker, codec: Codec, topics: Sequence[Topic]) -> bool:
        """Open the step on the worker's thread, with schemas and topics there; False where told to stop meanwhile."""
        config = admin_config(self._settings.kafka)

        def open_step() -> None:
            codec.prepare()
            check_topics(AdminClient(config, logger=CLIENT_LOG), {topic.name for topic in topics})
            self._step.open()

        for wait_s in back_off():
            opened = worker.submit(open_step)
            while not wait([opened], 0.1).done:
                self.vitals.progress()
                if self._stopping.is_set():
                    return False
            try:
                opened.result()
            except NotReady as reason:
                self.vitals.opening = str(reason)
                log.warning("not_open_yet", reason=str(reason), next_attempt_in_s=wait_s)
            else:
                self.vitals.opening = None
                return True
            until = time.monotonic() + wait_s
            while time.monotonic() < until:
                self.vitals.progress()
                if self._stopping.is_set():
                    return False
                time.sleep(STOP_POLL_S)  # a wait that a signal's handler could set might deadlock with it
        raise AssertionError("back_off() never ends")

    def _loop(self, worker: Worker, codec: Codec, topics: Topics, judge: Judge[E]) -> None:
        kafka, stream = self._settings.kafka, self._settings.stream
        producer_config = transactional_producer_config(
            kafka, topics, self.slot, transaction_timeout_ms=stream.transaction_timeout_ms
        )
        topic = topics.topic_of(self._step.consumes).name
        # Read once: what becomes of the files of passwords and certificates later must not end a stage that runs.
        admin, past_reader = admin_config(kafka), past_reader_config(kafka, topics, self.group)

        def new_admin() -> AdminClient:
            return AdminClient(admin, logger=CLIENT_LOG)

        def note_statistics(told: str) -> None:
            self._note_statistics(told, lag, loop.partitions)

        lag = Lag(new_admin, topic)
        loop: Loop[E]
        consumer = Consumer(
            {
                **consumer_config(kafka, topics, self.group),
                "statistics.interval.ms": GROUP_STATE_MS,
                "stats_cb": note_statistics,
            },
            logger=CLIENT_LOG,
        )
        transactions = Transactions(
            lambda: Producer(producer_config, logger=CLIENT_LOG),
            alive=self.vitals.progress,
            stopping=self._stopping,
            slot=stream.worker,
            topic=topic,
            outputs=[(output.name, partition) for output in judge.outputs for partition in range(output.partitions)],
            patience_s=min(BROKER_PATIENCE_S, stream.transaction_timeout_ms / 1000),
        )

        coordinator = Coordinator(new_admin, group=self.group, topic=topic)
        input_topic = InputTopic(new_admin, topic)

        def look(member_id: str | None) -> Given | None:
            return coordinator.given(member_id) if input_topic.check() else None

        membership = Membership(look, consumer.memberid, known=self.vitals.subscribed)
        pasts = PastReader(
            lambda: Consumer(past_reader, logger=CLIENT_LOG),
            new_admin,
            stage=self._step.name,
            topic=topic,
            recalls=judge.recalls,
            codec=codec,
            again=stream.remembered_chips,
        )
        loop = Loop(
            step=self._step,
            judge=judge,
            topic=topic,
            consumer=consumer,
            pasts=pasts,
            membership=membership,
            transactions=transactions,
            worker=worker,
            settings=stream,
            vitals=self.vitals,
            stopping=self._stopping,
        )
        try:
            # Before the group hears of this worker: its predecessor is out of the way then.
            if transactions.open(consumer.consumer_group_metadata()):
                loop.run()
            else:
                log.info("stopping")
        finally:
            membership.close()
            consumer.close()
            pasts.close()

    def _note_statistics(self, statistics: str, lag: Lag, partitions: Partitions) -> None:
        told = json.loads(statistics)
        self.vitals.group_up = told["cgrp"]["state"] == "up"
        report.lag(self._step.name, lag.measured(told, partitions.following, partitions.paused))
