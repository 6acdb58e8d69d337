"""A stage outlives its broker: nothing lost, nothing twice, no restart."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from services.cli.local_stack import process
from services.cli.local_stack import stack as local_stack
from shared.kafka import create_topics
from shared.settings import Settings
from shared.stream.errors import ExitStatus
from shared.topics import Topics, load_topics
from shared.wire.registry import SchemaRegistry
from tests.events_of_chips import image_captured
from tests.kafka_records import Records
from tests.toy_workers import Workers

CHIPS = 400
LINES = 12


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A stack that no tests but these use; its directory."""
    directory = tmp_path_factory.mktemp("stack")
    try:
        local_stack.up(directory)
        yield directory
    finally:
        local_stack.down(directory, purge=True)


@pytest.fixture
def own_topics(own_stack: Path, monkeypatch: pytest.MonkeyPatch) -> Topics:
    prefix = f"{uuid.uuid4().hex[:8]}-"
    for name, value in (local_stack.up(own_stack).env() | {"CHIPSIEVE_TOPIC_PREFIX": prefix}).items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    topics = load_topics(prefix=prefix)
    create_topics(settings.kafka, topics)
    SchemaRegistry(settings.registry).register_all(topics)
    return topics


def test_a_broker_that_dies_amid_transactions_costs_no_chip_and_no_process(
    own_stack: Path, own_topics: Topics, tmp_path: Path
):
    records = Records(own_topics)
    workers = Workers(tmp_path / "workers.log")
    try:
        workers.start("0")
        sent = [image_captured(b"picture", number, line_id=f"line-{number % LINES}") for number in range(CHIPS)]
        records.send(sent)
        records.wait_for("features", 20)
        broker = process.read_record(own_stack / "run" / "kafka.json").process()
        broker.kill()
        psutil.wait_procs([broker])
        local_stack.up(own_stack)
        forwarded = records.wait_for("features", CHIPS)
    finally:
        statuses = workers.stop()
    assert statuses == [ExitStatus.DRAINED]
    for line in range(LINES):
        of_line = [event.event_id for event in forwarded if event.line_id == f"line-{line}"]
        assert of_line == [event.event_id for event in sent if event.line_id == f"line-{line}"]
    assert len(records.committed("features")) == CHIPS


def test_a_power_cut_that_takes_acknowledged_pictures_keeps_no_later_one_from_being_judged(
    own_stack: Path, own_topics: Topics, tmp_path: Path
):
    """What the broker had acknowledged and not yet on its disk is gone, though the group's offset is beyond it."""
    records = Records(own_topics)
    workers = Workers(tmp_path / "workers.log", once=True)
    chips = [image_captured(b"picture", number, line_id="line-0") for number in range(60)]
    try:
        workers.start("0")
        for chip in chips[:40]:
            records.send([chip])  # one by one: the log can be cut between any two
        records.wait_for("features", 40)
        partition = records.committed_messages("images")[0].partition()
        broker = process.read_record(own_stack / "run" / "kafka.json").process()
        broker.kill()
        psutil.wait_procs([broker])
        lose_the_end_of(own_stack / "kafka" / "data" / f"{own_topics.by_name['images'].name}-{partition}")
        local_stack.up(own_stack)
        assert len(records.committed_messages("images")) < 30
        records = Records(own_topics)  # the broker does not know the one before as it was
        records.send(chips[40:50])  # get offsets that the group has been at
        records.wait_for("features", 50)
        records.send(chips[50:])
        forwarded = records.wait_for("features", 60)
    finally:
        statuses = workers.stop()
    assert statuses == [ExitStatus.DRAINED]
    assert [event.event_id for event in forwarded] == [chip.event_id for chip in chips]
    assert "log_cut_short" in (tmp_path / "workers.log").read_text()


def lose_the_end_of(partition: Path) -> None:
    (segment,) = partition.glob("*.log")
    with segment.open("r+b") as log:
        log.truncate(segment.stat().st_size * 3 // 5)
