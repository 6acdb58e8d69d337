"""A stage without Kafka: the loop, the toy step and doubles of what it needs."""

from collections.abc import Sequence
from threading import Event as Flag

from shared.settings import StreamSettings
from shared.stream.judgement import Judge
from shared.stream.loop import Loop
from shared.stream.vitals import Vitals
from shared.stream.worker import Worker
from shared.topics import load_topics
from shared.wire.codec import Codec
from tests.events_of_chips import image_captured
from tests.registry_double import RegistryInMemory
from tests.toy_stage import ToyStep
from tests.unit.stream.doubles import TOPIC, ConsumerDouble, MembershipDouble, PastsDouble, TransactionsDouble

TOPICS = load_topics()
CODEC = Codec(RegistryInMemory(), TOPICS)
IMAGES = {number: CODEC.encode(image_captured(b"picture", number)) for number in range(60)}


def log_of(*partitions: Sequence[int]) -> dict[int, list[bytes]]:
    """Chips by number, in partitions 0, 1, …"""
    return {number: [IMAGES[chip] for chip in chips] for number, chips in enumerate(partitions)}


class Stage:
    """A loop over a log in memory that stops once everything of the log has been committed."""

    def __init__(self, log: dict[int, list[bytes]], step: ToyStep | None = None, **stream: object) -> None:
        self.step = step or ToyStep()
        self.consumer = ConsumerDouble(log)
        self.transactions = TransactionsDouble(self.consumer)
        self.stopping = Flag()
        self.vitals = Vitals(self.step.not_ready_because)
        self.vitals.opening = None
        self.consume = self.consumer.consume
        self.consumer.consume = self._consume_until_all_is_done
        self._worker = Worker("toy")
        judge = Judge(self.step, CODEC, TOPICS)
        self.pasts = PastsDouble(self.consumer, self.transactions, CODEC)
        self.pasts.recalls = judge.recalls
        self.membership = MembershipDouble()
        self.loop = Loop(
            step=self.step,
            judge=judge,
            topic=TOPIC,
            consumer=self.consumer,
            pasts=self.pasts,
            membership=self.membership,
            transactions=self.transactions,
            worker=self._worker,
            settings=StreamSettings(**{"batch_size": 4, "linger_ms": 5} | stream),
            vitals=self.vitals,
            stopping=self.stopping,
        )

    def _consume_until_all_is_done(self, number: int, timeout_s: float):
        log, committed = self.consumer.log, self.consumer.committed_offsets
        if all(committed.get(p, 0) == len(log[p]) for p in self.consumer.assigned) and not self.consumer.between_polls:
            self.stopping.set()
        return self.consume(number, timeout_s)

    def run(self) -> list[str]:
        """The event ids committed, in order."""
        try:
            self.loop.run()
        finally:
            self._worker.close(10)
        return self.committed()

    def committed(self, topic: str = "features") -> list[str]:
        outputs = [output for output in self.transactions.outputs if output.topic == topic]
        return [dict(output.headers)["event_id"].decode() for output in outputs]


def ids(*numbers: int) -> list[str]:
    return [f"event-{number}" for number in numbers]
