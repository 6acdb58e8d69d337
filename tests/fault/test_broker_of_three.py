"""What three brokers are for: the line goes on without one, and without two takes nothing that it could lose."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from services.cli.local_stack.stack import Addresses
from shared.events import ImageCaptured
from shared.identity import identity_of, to_headers
from shared.kafka import create_topics, producer_config
from shared.settings import Settings
from shared.stream.errors import ExitStatus
from shared.topics import Topics, load_topics
from shared.wire.registry import SchemaRegistry
from tests.events_of_chips import image_captured
from tests.fault.brokers import NODES, PATIENCE_S, Brokers
from tests.kafka_records import Records, wait_for
from tests.kubernetes_manifests import has_kustomize, of_kind, overlay
from tests.toy_workers import Workers

pytestmark = pytest.mark.skipif(not has_kustomize(), reason="kubectl is not installed: nothing builds the overlay")

LINES = 12
CHIPS = 120  # sent at each state of the brokers
REFUSED_AFTER_MS = 5000
OFFSETS, TRANSACTIONS = "__consumer_offsets", "__transaction_state"


@pytest.fixture
def brokers(tmp_path: Path) -> Iterator[Brokers]:
    config = of_kind(overlay("factory"), "Kafka")["chipsieve"]["spec"]["kafka"]["config"]
    three = Brokers(tmp_path / "brokers", {name: str(value).lower() for name, value in config.items()})
    try:
        three.start(*NODES)
        three.wait_until_in_sync()
        yield three
    finally:
        three.stop()


@pytest.fixture
def replicated_topics(stack: Addresses, brokers: Brokers, monkeypatch: pytest.MonkeyPatch) -> Topics:
    """On the three brokers; their schemas are in the registry of all tests."""
    prefix = f"{uuid.uuid4().hex[:8]}-"
    places = {"CHIPSIEVE_TOPIC_PREFIX": prefix, "CHIPSIEVE_KAFKA__BOOTSTRAP_SERVERS": brokers.bootstrap_servers}
    for name, value in (stack.env() | places).items():
        monkeypatch.setenv(name, value)
    topics = load_topics(prefix=prefix)
    create_topics(Settings().kafka, topics)
    with SchemaRegistry(Settings().registry) as registry:
        registry.register_all(topics)
    brokers.wait_until_in_sync([topic.name for topic in topics.by_name.values()])
    return topics


class Camera:
    """Sends chips, and knows which of them it was told are stored."""

    def __init__(self, topics: Topics, records: Records) -> None:
        self._topic = topics.topic_of(ImageCaptured).name
        self._topics, self._records = topics, records
        self.sent: list[str] = []
        self.stored: set[str] = set()

    def send(self, *, for_ms: int) -> int:
        """Send some chips and return when each is stored or given up after so long; how many are stored."""
        producer = Producer(
            {**producer_config(Settings().kafka, self._topics, delivery_timeout_ms=for_ms), "log_level": 0}
        )
        before = len(self.stored)
        for number in range(len(self.sent), len(self.sent) + CHIPS):
            event = image_captured(b"picture", number, line_id=f"line-{number % LINES}")
            self.sent.append(event.event_id)
            producer.produce(
                self._topic,
                self._records.encode(event),
                event.line_id,
                headers=to_headers(identity_of(event)),
                on_delivery=lambda error, _message, chip=event.event_id: None if error else self.stored.add(chip),
            )
        assert producer.flush(PATIENCE_S) == 0
        return len(self.stored) - before


@pytest.mark.timeout(600)  # half a minute on two idle cores
def test_one_broker_of_three_dies_and_the_line_goes_on_then_another_and_nothing_is_lost(
    brokers: Brokers, replicated_topics: Topics, tmp_path: Path
) -> None:
    records = Records(replicated_topics)
    camera = Camera(replicated_topics, records)
    group = f"{Settings().topic_prefix}chipsieve-toy"

    def judged() -> list[str]:
        return [event.event_id for event in records.committed("features")]

    workers = Workers(tmp_path / "workers.log", once=True)
    try:
        for slot in ("0", "1"):
            workers.start(slot)
        assert camera.send(for_ms=120_000) == CHIPS
        wait_for(judged, "the line to work")

        brokers.kill(dead := brokers.coordinator(TRANSACTIONS, f"{group}-0"))
        assert camera.send(for_ms=120_000) == CHIPS
        wait_for(
            lambda: camera.stored <= set(judged()), "what was stored before and after the death", patience_s=PATIENCE_S
        )

        brokers.kill(second := brokers.coordinator(OFFSETS, group))
        assert camera.send(for_ms=REFUSED_AFTER_MS) == 0

        brokers.start(dead, second)
        brokers.wait_until_in_sync([topic.name for topic in replicated_topics.by_name.values()])
        assert camera.send(for_ms=120_000) == CHIPS
        wait_for(lambda: camera.stored <= set(judged()), "all that was stored", patience_s=PATIENCE_S)
    finally:
        statuses = workers.stop()
    assert statuses == [ExitStatus.DRAINED] * 2
    # Of those whose camera gave up some may have come in all the same, as after any answer that is lost.
    found = judged()
    assert len(found) == len(set(found)), "none twice"
    assert set(found) <= set(camera.sent)
    for line in range(LINES):
        stored = [chip for chip in camera.sent[line::LINES] if chip in camera.stored]
        assert [chip for chip in found if chip in stored] == stored, "in their order"
