"""The programs of docs/integration.md, and its stage, as they stand there, read what the line writes."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Producer

from shared.events import ChipInspected, ChipRejected, Verdict
from shared.identity import headers_of
from shared.kafka import producer_config
from shared.settings import Settings
from shared.topics import Topics
from shared.wire.codec import Codec
from shared.wire.registry import SchemaRegistry
from tests.events_of_chips import NOON, identity
from tests.integration.valkey import wait_until

PAGE = (Path(__file__).parents[2] / "docs" / "integration.md").read_text()
PROGRAMS = [code for code in re.findall(r"```python\n(.*?)```", PAGE, re.S) if "consumer.subscribe" in code]
STAGE = "\n".join(code for code in re.findall(r"```python\n(.*?)```", PAGE, re.S) if "ScrapStep" in code)
ID = identity(1).fields()
REJECTED = ChipRejected(**ID, verdict=Verdict.REJECT, score=7.5, rejected_at=NOON)
INSPECTED = ChipInspected(**ID, verdict=Verdict.REJECT, score=7.5, inspected_at=NOON)


@contextmanager
def running(program: str, output: Path) -> Iterator[None]:
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-u", "-c", program], stdout=file, stderr=subprocess.STDOUT, env=os.environ
        )
    try:
        yield
    finally:
        process.kill()  # it has no end of its own
        process.wait()


def encoded(event: ChipRejected | ChipInspected, topics: Topics) -> bytes:
    with SchemaRegistry(Settings().registry) as registry:
        return Codec(registry, topics).encode(event)


@pytest.mark.parametrize(
    ("event", "says"),
    [(REJECTED, "throw out line-1 chip-1"), (INSPECTED, "line-1 chip-1 REJECT 7.5")],
    ids=["reject gate", "mes"],
)
def test_a_documented_consumer_reads_the_lines_records(
    topics: Topics, tmp_path: Path, event: ChipRejected | ChipInspected, says: str
) -> None:
    settings, topic = Settings(), topics.topic_of(type(event))
    [program] = [each for each in PROGRAMS if f'subscribe(["{topic.declared_as}"])' in each]
    places = {
        f'"{topic.declared_as}"': f'"{topic.name}"',
        "localhost:9092": settings.kafka.bootstrap_servers,
        "http://localhost:8081/apis/ccompat/v7": settings.registry.url,
        '"group.id": "': f'"group.id": "{settings.topic_prefix}',
    }
    for documented, here in places.items():
        program = program.replace(documented, here)
    value, producer = encoded(event, topics), Producer(producer_config(settings.kafka, topics))

    def has_said() -> bool:
        # Again and again: the gate begins with what comes after it has joined its group.
        producer.produce(topic.name, value, event.line_id)  # somebody else's, without headers
        producer.produce(topic.name, value, event.line_id, headers=headers_of(event))
        assert producer.flush(30) == 0
        return says in (tmp_path / "output").read_text().splitlines()

    with running(program, tmp_path / "output"):
        wait_until(has_said, seconds=60)


def test_the_documented_stage_reads_the_lines_records(topics: Topics, tmp_path: Path) -> None:
    topic, output = topics.topic_of(ChipInspected), tmp_path / "output"
    producer = Producer(producer_config(Settings().kafka, topics))
    for _ in range(2):
        producer.produce(topic.name, encoded(INSPECTED, topics), INSPECTED.line_id, headers=headers_of(INSPECTED))
    assert producer.flush(30) == 0
    with running(STAGE.replace("from services.scrap.step import ScrapStep\n", ""), output):
        wait_until(lambda: '"count": 2' in output.read_text(), seconds=60)
