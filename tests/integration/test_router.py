"""The router as a process on a real broker: rejects for whatever did not pass, alerts by the rules of a file."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from services.cli.line import Line
from shared.events import (
    AlertKind,
    AlertRaised,
    ChipInspected,
    ChipRejected,
    DeadLetter,
    Event,
    Uninspected,
    UninspectedReason,
    Verdict,
)
from shared.identity import UNKNOWN, identity_of, to_headers
from shared.kafka import producer_config, reader_config
from shared.settings import Settings
from shared.stream.errors import ExitStatus
from shared.topics import Topics
from shared.wire.codec import Codec
from shared.wire.registry import SchemaRegistry

E = TypeVar("E")
PATIENCE_S = 40.0
RULES = """
defaults:
  reject_burst: {rejects: 3, chips: 4}
  uninspected_streak: {chips: 2}
lines:
  line-quiet: {reject_burst: null, line_silent: {seconds: 1}}
"""


class RouterBench:
    """Puts verdicts in front of a router and collects what it makes of them."""

    def __init__(self, topics: Topics) -> None:
        settings = Settings()
        self.topics = topics
        self.codec = Codec(SchemaRegistry(settings.registry), topics)
        self.producer = Producer(producer_config(settings.kafka, topics))
        self.consumer = Consumer(reader_config(settings.kafka, topics))
        self.consumer.assign(
            [
                TopicPartition(topics.topic_of(kind).name, partition, 0)
                for kind in (ChipRejected, AlertRaised, DeadLetter)
                for partition in range(topics.topic_of(kind).partitions)
            ]
        )
        self.out: dict[type[Event], list[Event]] = defaultdict(list)

    def send(self, line_id: str, verdicts: str) -> None:
        """Chips of a line, all at once: p passed, r rejected, u uninspected."""
        for number, letter in enumerate(verdicts):
            event = inspected(line_id, number, letter)
            self.put(self.codec.encode(event), key=line_id, headers=to_headers(identity_of(event)))
        assert self.producer.flush(PATIENCE_S) == 0

    def put(self, value: bytes, *, key: str | None = None, headers: list[tuple[str, bytes]] | None = None) -> None:
        """A record of any bytes; sent with the next flush."""
        self.producer.produce(self.topics.topic_of(ChipInspected).name, value=value, key=key, headers=headers)

    def wait(self, kind: type[E], enough: Callable[[list[E]], bool]) -> list[E]:
        """The events of a kind so far, once there are enough."""
        events: list[E] = self.out[kind]  # type: ignore[assignment, index]
        deadline = datetime.now(UTC).timestamp() + PATIENCE_S
        kinds = {self.topics.topic_of(kind).name: kind for kind in (ChipRejected, AlertRaised, DeadLetter)}
        while not enough(events):
            assert datetime.now(UTC).timestamp() < deadline, f"only {events}"
            message = self.consumer.poll(0.1)
            if message is not None and message.error() is None:
                found = kinds[message.topic()]
                self.out[found].append(self.codec.decode(message.value(), found))
        return events


def inspected(line_id: str, number: int, letter: str) -> ChipInspected:
    verdict = {"p": Verdict.PASS, "r": Verdict.REJECT, "u": Verdict.UNINSPECTED}[letter]
    now = datetime.now(UTC)
    return ChipInspected(
        event_id=f"{line_id}/{number}",
        chip_id=f"c{number}",
        line_id=line_id,
        product="qfn32",
        captured_at=now,
        verdict_by=now,  # past by the time it is routed
        verdict=verdict,
        uninspected=Uninspected(reason=UninspectedReason.TOO_LATE, detail="late", stage="extractor")
        if letter == "u"
        else None,
        inspected_at=now,
    )


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    return path


@pytest.fixture
def bench(topics: Topics, rules: Path, tmp_path: Path) -> Iterator[RouterBench]:
    bench = RouterBench(topics)
    with Line({"CHIPSIEVE_ROUTER__RULES": str(rules)}, tmp_path / "logs", services=["router"]):
        yield bench
    bench.consumer.close()


def test_whatever_did_not_pass_is_routed_and_the_rules_of_the_file_raise_alerts(bench: RouterBench) -> None:
    bench.send("line-1", "prpprr" + "puu")
    bench.send("line-2", "pppp")
    rejects = bench.wait(ChipRejected, lambda events: len(events) >= 5)
    assert [(reject.event_id, reject.verdict) for reject in rejects] == [
        ("line-1/1", Verdict.REJECT),
        ("line-1/4", Verdict.REJECT),
        ("line-1/5", Verdict.REJECT),
        ("line-1/7", Verdict.UNINSPECTED),
        ("line-1/8", Verdict.UNINSPECTED),
    ]
    assert rejects[-1].uninspected is not None
    assert rejects[-1].uninspected.reason is UninspectedReason.TOO_LATE
    alerts = bench.wait(AlertRaised, lambda events: len(events) >= 2)
    assert {(alert.kind, alert.event_id) for alert in alerts} == {
        (AlertKind.REJECT_BURST, "line-1/7"),
        (AlertKind.UNINSPECTED_STREAK, "line-1/8"),
    }
    assert bench.out[DeadLetter] == []


def test_a_line_that_falls_silent_is_told_once(bench: RouterBench) -> None:
    bench.send("line-quiet", "rrrr")
    (alert,) = bench.wait(AlertRaised, lambda events: len(events) >= 1)
    assert (alert.kind, alert.line_id, alert.rule) == (
        AlertKind.LINE_SILENT,
        "line-quiet",
        "lines.line-quiet.line_silent",
    )
    bench.send("line-quiet", "p")
    alerts = bench.wait(AlertRaised, lambda events: len(events) >= 2)
    assert [alert.alert_id for alert in alerts] == [
        "LINE_SILENT:line-quiet:line-quiet/3",
        "LINE_SILENT:line-quiet:line-quiet/0",
    ]


def test_garbage_is_routed_as_uninspected_with_a_dead_letter_and_counts_for_its_line(bench: RouterBench) -> None:
    someone = inspected("line-3", 0, "p")
    bench.put(b"garbage", key="line-3", headers=to_headers(identity_of(someone)))
    bench.put(b"", key="line-3", headers=to_headers(identity_of(someone)))
    bench.put(b"garbage")
    assert bench.producer.flush(PATIENCE_S) == 0
    rejects = bench.wait(ChipRejected, lambda events: len(events) >= 3)
    assert {reject.verdict for reject in rejects} == {Verdict.UNINSPECTED}
    assert sorted(reject.line_id for reject in rejects) == ["line-3", "line-3", UNKNOWN]
    letters = bench.wait(DeadLetter, lambda events: len(events) >= 3)
    assert {letter.reason for letter in letters} == {UninspectedReason.MALFORMED_RECORD}
    (alert,) = bench.wait(AlertRaised, lambda events: len(events) >= 1)
    assert (alert.kind, alert.line_id) == (AlertKind.UNINSPECTED_STREAK, "line-3")


def test_a_rules_file_that_cannot_be_meant_stops_the_router_and_says_so(
    topics: Topics, rules: Path, tmp_path: Path
) -> None:
    rules.write_text("defaults: {reject_burst: {rejects: 0, chips: 4}}")
    with Line({"CHIPSIEVE_ROUTER__RULES": str(rules)}, tmp_path / "logs", services=[]) as processes:
        service = processes.start("router")
        assert service.process.wait(PATIENCE_S) == ExitStatus.MISCONFIGURED
        assert "defaults.reject_burst.rejects is 0" in service.log.read_text()
        assert "Traceback" not in service.log.read_text()
