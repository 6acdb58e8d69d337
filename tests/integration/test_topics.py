"""Topics on a real broker, and what the `chipsieve topics`, `tail` and `dead-letters` commands make of them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import typer
from confluent_kafka import Consumer, KafkaException, Producer
from typer.testing import CliRunner

from services.cli import dead_letters
from services.cli import topics as topics_command
from services.cli.replay import Ledger, ReplayFenced, send_back
from services.cli.tail import tail
from shared.events import DeadLetter, Event, Header, ImageCaptured, UninspectedReason, Verdict
from shared.identity import Headers, identity_of, to_headers
from shared.kafka import (
    TopicMismatch,
    consumer_config,
    create_topics,
    producer_config,
    transactional_producer_config,
)
from shared.settings import Settings
from shared.topics import Topics
from shared.wire.codec import Codec
from shared.wire.registry import SchemaRegistry
from tests.contract.examples import EXAMPLES
from tests.kafka_records import Records

FLUSH_S = 20
# As from a terminal: a job that a shell put into the background ignores Ctrl-C, and so does all that it starts.
TAIL_COMMAND = (
    "import signal, typer; from services.cli.tail import tail; "
    "signal.signal(signal.SIGINT, signal.default_int_handler); typer.run(tail)"
)
app = typer.Typer()
app.add_typer(topics_command.app, name="topics")
app.add_typer(dead_letters.app, name="dead-letters")
app.command()(tail)


def run(*arguments: str) -> str:
    """Standard output of a command that must succeed."""
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def documents(*arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(*arguments, "--json").splitlines()]


@pytest.fixture
def codec(topics: Topics) -> Codec:
    return Codec(SchemaRegistry(Settings().registry), topics)


@pytest.fixture
def produce(topics: Topics, codec: Codec) -> Callable[..., None]:
    """Writes values or events to the topic with a declared name."""
    producer = Producer(producer_config(Settings().kafka, topics))

    def write(to: str, *values: bytes | Event | None, headers: Headers | None = None) -> None:
        for value in values:
            data = value if isinstance(value, bytes | None) else codec.encode(value)
            producer.produce(topics.by_name[to].name, key=b"line-1", value=data, headers=headers)
        assert producer.flush(FLUSH_S) == 0

    return write


@pytest.fixture
def images(topics: Topics) -> Iterator[Callable[[int], list[Any]]]:
    """Reads so many committed records of the images' topic, as a stage would."""
    consumer = Consumer(consumer_config(Settings().kafka, topics, f"{topics.by_name['images'].name}-test"))
    consumer.subscribe([topics.by_name["images"].name])

    def read(count: int) -> list[Any]:
        found: list[Any] = []
        while len(found) < count:
            message = consumer.poll(FLUSH_S)
            assert message is not None, f"{len(found)} of {count} records came"
            assert message.error() is None
            found.append(message)
        return found

    yield read
    consumer.close()


class TestTopics:
    def test_creating_again_creates_nothing(self, topics: Topics):
        done = create_topics(Settings().kafka, topics)

        assert done.created == ()
        assert set(done.existing) == {topic.name for topic in topics.by_name.values()}

    def test_a_broker_that_forgets_offsets_before_records_is_warned_of(
        self, topics: Topics, monkeypatch: pytest.MonkeyPatch
    ):
        assert create_topics(Settings().kafka, topics).warnings == ()
        monkeypatch.setattr(Topics, "longest_retention_hours", 24 * 90)

        (warning,) = create_topics(Settings().kafka, topics).warnings

        assert "offsets.retention.minutes is 86400 minutes, and records are kept for 129600 minutes" in warning
        (document,) = documents("topics", "create")
        assert document["warnings"] == [warning]

    def test_the_command_says_what_it_did(self, topics: Topics):
        (document,) = documents("topics", "create")

        assert [(row["topic"], row["created"]) for row in document["topics"]] == [
            (topic.name, False) for topic in topics.by_name.values()
        ]
        assert {row["compatibility"] for row in document["topics"]} == {"FULL_TRANSITIVE"}

    def test_every_difference_from_the_declaration_is_named(self, topics: Topics):
        changed = {
            name: replace(topic, partitions=topic.partitions + 1, max_message_bytes=topic.max_message_bytes + 1)
            for name, topic in topics.by_name.items()
            if name in ("images", "alerts")
        }
        declared = replace(topics, by_name={**topics.by_name, **changed})

        with pytest.raises(TopicMismatch) as mismatch:
            create_topics(Settings().kafka, declared)

        assert str(mismatch.value).count("partitions is 6, declared 7") == 2
        assert "max.message.bytes is 8454144, declared 8454145" in str(mismatch.value)

    def test_the_largest_picture_travels_and_a_larger_record_is_refused_before_it_is_sent(
        self, topics: Topics, codec: Codec, produce: Callable[..., None], images: Callable[[int], list[Any]]
    ):
        event = replace(EXAMPLES["ImageCaptured"], image_bytes=os.urandom(topics.max_image_bytes))

        produce("images", event, headers=to_headers(identity_of(event)))

        (message,) = images(1)
        assert codec.decode(message.value(), ImageCaptured) == event
        with pytest.raises(KafkaException, match="MSG_SIZE_TOO_LARGE"):
            produce("images", bytes(topics.max_message_bytes + 1))

    def test_a_records_age_is_reckoned_by_the_brokers_clock(self, topics: Topics):
        """Whatever its producer's says: by a slow one it would expire at once, and a fast one would be refused."""
        producer = Producer(producer_config(Settings().kafka, topics))
        refused: list[Any] = []
        now = datetime.now(UTC).timestamp()
        for differs_s in (-30 * 86400, 2 * 3600):
            producer.produce(
                topics.by_name["images"].name,
                EXAMPLES["ImageCaptured"].SCHEMA.encode(),
                timestamp=int((now + differs_s) * 1000),
                on_delivery=lambda error, _message: refused.append(error) if error else None,
            )
        assert producer.flush(FLUSH_S) == 0

        shown = documents("tail", "images", "--from-beginning", "--max", "2")

        assert refused == []
        for document in shown:
            assert abs(datetime.fromisoformat(document["timestamp"]).timestamp() - now) < 60


class TestTail:
    def test_shows_each_record_with_its_place_and_what_cannot_be_decoded_as_such(
        self, topics: Topics, produce: Callable[..., None]
    ):
        inspection = EXAMPLES["ChipInspected"]
        produce("inspections", inspection, b"garbage", None, inspection)

        shown = documents("tail", "inspections", "--from-beginning", "--max", "4")

        assert [document["event"] for document in shown] == ["ChipInspected", None, None, "ChipInspected"]
        assert [document["offset"] for document in shown] == [0, 1, 2, 3]
        assert {document["topic"] for document in shown} == {topics.by_name["inspections"].name}
        assert shown[0]["reason"] == "TOO_LATE"
        assert shown[1]["line_id"] == "line-1"

    def test_ends_at_its_timeout_with_what_there_was(self, topics: Topics, produce: Callable[..., None]):
        produce("rejects", EXAMPLES["ChipRejected"])

        assert len(documents("tail", "rejects", "--from-beginning", "--timeout", "3")) == 1
        assert documents("tail", "alerts", "--timeout", "0.2") == []

    def test_never_shows_what_an_aborted_transaction_wrote(self, topics: Topics, codec: Codec):
        name = topics.by_name["inspections"].name
        producer = Producer(transactional_producer_config(Settings().kafka, topics, f"{name}-test"))
        producer.init_transactions(FLUSH_S)
        for score, end in ((1.0, producer.abort_transaction), (2.0, producer.commit_transaction)):
            producer.begin_transaction()
            value = codec.encode(replace(EXAMPLES["ChipInspected"], score=score))
            producer.produce(name, key=b"line-1", value=value)
            producer.flush(FLUSH_S)
            end(FLUSH_S)

        shown = documents("tail", "inspections", "--from-beginning", "--timeout", "3")

        assert [document["score"] for document in shown] == [2.0]

    def test_follows_until_interrupted_and_ends_cleanly(self, topics: Topics, produce: Callable[..., None]):
        command = [sys.executable, "-c", TAIL_COMMAND, "images", "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                line = ""
                while not line:  # it shows only what comes after it has started, and does not say when it has
                    produce("images", EXAMPLES["ImageCaptured"])
                    line = _line_within(process, 1.0)
                process.send_signal(signal.SIGINT)
                _, errors = process.communicate(timeout=FLUSH_S)
            finally:
                process.kill()

        assert json.loads(line)["chip_id"] == "tray 7/chip 3"
        assert process.returncode == 0, errors
        assert "Traceback" not in errors


def _line_within(process: "subprocess.Popen[str]", seconds: float) -> str:
    import select

    ready, _, _ = select.select([process.stdout], [], [], seconds)
    return process.stdout.readline() if ready else ""


class TestDeadLetters:
    @pytest.fixture
    def letters(self, topics: Topics, codec: Codec, produce: Callable[..., None]) -> list[DeadLetter]:
        """Four of an extractor, one of a matcher without its value."""
        image = codec.encode(EXAMPLES["ImageCaptured"])
        made = [
            DeadLetter(
                dead_letter_id=f"extractor:images:2:{offset}",
                stage="extractor",
                topic=topics.by_name["images"].name,
                partition=2,
                offset=offset,
                key=b"line-1",
                value=value,
                headers=(Header(name="chip_id", value=b"c"), Header(name="verdict_by", value=b"1"), Header(name="n")),
                reason=reason,
                error="E",
                detail="d",
                event_id="e",
                chip_id="c",
                line_id="line-1",
                product="p",
                failed_at=datetime.now(UTC),
            )
            for offset, value, reason in [
                (0, b"garbage", UninspectedReason.MALFORMED_RECORD),
                (1, image, UninspectedReason.UNKNOWN_PRODUCT),
                (2, b"\x00", UninspectedReason.MALFORMED_RECORD),
                (3, image, UninspectedReason.UNKNOWN_PRODUCT),
            ]
        ]
        made.append(replace(made[0], dead_letter_id="matcher:features:0:0", stage="matcher", value=None))
        produce("dead-letters", *made, b"no dead letter")
        return made

    def test_are_listed_by_stage_cause_line_and_time(self, letters: list[DeadLetter]):
        (everything,) = documents("dead-letters", "list")
        (unknown,) = documents("dead-letters", "list", "--stage", "extractor", "--cause", "UNKNOWN_PRODUCT")

        assert [entry["dead_letter_id"] for entry in everything["dead_letters"]] == [
            letter.dead_letter_id for letter in letters
        ]
        assert everything["malformed"] == 1
        assert [entry["offset"] for entry in unknown["dead_letters"]] == [1, 3]
        assert documents("dead-letters", "list", "--line", "line-2")[0]["dead_letters"] == []
        of_time = {
            option: documents("dead-letters", "list", option, "1h")[0]["dead_letters"]
            for option in ("--since", "--until")
        }
        assert (len(of_time["--since"]), len(of_time["--until"])) == (len(letters), 0)

    def test_go_back_as_they_were_each_once(self, letters: list[DeadLetter], images: Callable[[int], list[Any]]):
        (unknown,) = documents("dead-letters", "replay", "--cause", "UNKNOWN_PRODUCT")
        (rest,) = documents("dead-letters", "replay")
        (again,) = documents("dead-letters", "replay")

        assert unknown == {"replayed": 2, "already_replayed": 0, "already_judged": 0, "skipped": 0, "dry_run": False}
        assert rest == {"replayed": 2, "already_replayed": 2, "already_judged": 0, "skipped": 1, "dry_run": False}
        assert again == {"replayed": 0, "already_replayed": 4, "already_judged": 0, "skipped": 1, "dry_run": False}
        sent = images(4)
        assert [message.value() for message in sent] == [letters[offset].value for offset in (1, 3, 0, 2)]
        assert {message.partition() for message in sent} == {2}
        assert {message.key() for message in sent} == {b"line-1"}
        assert [message.headers() for message in sent] == [
            [("chip_id", b"c"), ("verdict_by", b"1"), ("n", None), ("replay_of", b"extractor:images:2:%d" % offset)]
            for offset in (1, 3, 0, 2)
        ]
        (listed,) = documents("dead-letters", "list")
        assert [entry["replayed"] for entry in listed["dead_letters"]] == [True, True, True, True, False]

    def test_go_back_once_where_another_replay_runs_after_the_ledger_was_read(
        self, letters: list[DeadLetter], records: Records, monkeypatch: pytest.MonkeyPatch
    ):
        others: list[dict[str, Any]] = []
        read = Ledger.read

        def read_before_another_replay(*arguments: Any) -> Ledger:
            monkeypatch.setattr(Ledger, "read", read)
            ledger = read(*arguments)
            others.extend(documents("dead-letters", "replay"))
            return ledger

        monkeypatch.setattr(Ledger, "read", read_before_another_replay)
        with pytest.raises(ReplayFenced, match="another replay"):
            run("dead-letters", "replay")

        assert [(done["replayed"], done["already_replayed"]) for done in others] == [(4, 0)]
        assert len(records.committed_messages("images")) == 4

    def test_go_back_once_where_another_replay_begins_before_the_first_commits(
        self, letters: list[DeadLetter], records: Records, monkeypatch: pytest.MonkeyPatch
    ):
        others: list[dict[str, Any]] = []

        class SlowProducer(Producer):
            def commit_transaction(self, *timeout: float) -> None:
                monkeypatch.setattr(dead_letters, "Producer", Producer)
                self.flush(FLUSH_S)  # the broker has all of it
                others.extend(documents("dead-letters", "replay"))
                super().commit_transaction(*timeout)

        monkeypatch.setattr(dead_letters, "Producer", SlowProducer)
        with pytest.raises(ReplayFenced, match="another replay"):
            run("dead-letters", "replay")

        assert [(done["replayed"], done["already_replayed"]) for done in others] == [(4, 0)]
        assert len(records.committed_messages("images")) == 4

    def test_go_back_once_where_another_replay_begins_amid_them(
        self, letters: list[DeadLetter], records: Records, monkeypatch: pytest.MonkeyPatch
    ):
        others: list[dict[str, Any]] = []

        def send_before_another_replay(*arguments: Any, **named: Any) -> None:
            send_back(*arguments, **named)
            monkeypatch.setattr(dead_letters, "send_back", send_back)
            others.extend(documents("dead-letters", "replay"))

        monkeypatch.setattr(dead_letters, "BATCH", 1)
        monkeypatch.setattr(dead_letters, "send_back", send_before_another_replay)
        with pytest.raises(ReplayFenced, match="another replay"):
            run("dead-letters", "replay")

        assert [(done["replayed"], done["already_replayed"]) for done in others] == [(3, 1)]
        assert len(records.committed_messages("images")) == 4

    def test_go_back_from_a_replay_that_another_ones_dry_run_looks_on(
        self, letters: list[DeadLetter], records: Records, monkeypatch: pytest.MonkeyPatch
    ):
        def send_after_a_dry_run(*arguments: Any, **named: Any) -> None:
            documents("dead-letters", "replay", "--dry-run")
            send_back(*arguments, **named)

        monkeypatch.setattr(dead_letters, "send_back", send_after_a_dry_run)
        run("dead-letters", "replay")

        assert len(records.committed_messages("images")) == 4

    def test_stay_where_they_are_in_a_dry_run(self, letters: list[DeadLetter]):
        for _ in range(2):
            (done,) = documents("dead-letters", "replay", "--dry-run", "--id", "extractor:images:2:1")

            assert done == {"replayed": 1, "already_replayed": 0, "already_judged": 0, "skipped": 0, "dry_run": True}

    def test_can_go_back_without_their_deadline(
        self, codec: Codec, letters: list[DeadLetter], images: Callable[[int], list[Any]]
    ):
        documents("dead-letters", "replay", "--without-deadlines", "--id", "extractor:images:2:1")

        (message,) = images(1)
        assert codec.decode(message.value(), ImageCaptured).verdict_by is None
        assert message.headers() == [("chip_id", b"c"), ("n", None), ("replay_of", b"extractor:images:2:1")]

    def test_stay_where_they_are_once_their_chip_has_its_verdict(
        self, letters: list[DeadLetter], produce: Callable[..., None]
    ):
        verdict = replace(EXAMPLES["ChipInspected"], event_id="e", chip_id="c")
        about = [("event_id", b"e")]
        other_chip = replace(verdict, chip_id="d", verdict=Verdict.PASS)
        produce("inspections", replace(verdict, verdict=Verdict.UNINSPECTED), other_chip, headers=about)
        (before,) = documents("dead-letters", "replay", "--dry-run", "--stage", "extractor")
        produce("inspections", replace(verdict, verdict=Verdict.REJECT), headers=about)
        (after,) = documents("dead-letters", "replay", "--stage", "extractor")

        assert (before["replayed"], before["already_judged"]) == (4, 0)
        assert (after["replayed"], after["already_judged"]) == (0, 4)
