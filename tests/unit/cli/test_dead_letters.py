from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from services.cli import dead_letters
from services.cli.dead_letters import Mailbox, Selection, _waiting
from services.cli.replay import (
    Ledger,
    Letter,
    ReplayFenced,
    format_ranges,
    parse_ranges,
    replay_headers,
    replayable,
    send_back,
    without_deadline,
)
from services.cli.verdicts import Chip
from shared.errors import ConfigurationError
from shared.events import DeadLetter, Header, ImageCaptured, UninspectedReason
from shared.identity import REPLAY_OF
from shared.kafka import BrokerUnavailable
from shared.settings import KafkaSettings, Settings
from shared.topics import load_topics
from shared.wire.codec import Codec
from tests.registry_double import RegistryInMemory

NOW = datetime(2026, 11, 24, 16, 15, tzinfo=UTC)
TOPICS = load_topics()
LETTER = DeadLetter(
    dead_letter_id="extractor:images:3:17",
    stage="extractor",
    topic="images",
    partition=3,
    offset=17,
    key=b"line-1",
    value=b"garbage",
    headers=(Header(name="chip_id", value=b"c"), Header(name="verdict_by", value=b"1")),
    reason=UninspectedReason.MALFORMED_RECORD,
    error="MalformedRecord",
    detail="garbage",
    event_id="e",
    chip_id="c",
    line_id="line-1",
    product="p",
    failed_at=NOW,
)


@pytest.mark.parametrize(
    ("selection", "takes"),
    [
        (Selection(), True),
        (Selection(stage="extractor", cause=UninspectedReason.MALFORMED_RECORD, line="line-1", since=NOW), True),
        (Selection(stage="matcher"), False),
        (Selection(cause=UninspectedReason.UNKNOWN_PRODUCT), False),
        (Selection(line="line-2"), False),
        (Selection(since=NOW + timedelta(seconds=1)), False),
        (Selection(until=NOW + timedelta(seconds=1)), True),
        (Selection(until=NOW), False),
        (Selection(ids=frozenset({"extractor:images:3:17"})), True),
        (Selection(ids=frozenset({"extractor:images:3:18"})), False),
    ],
)
def test_a_selection_takes_what_fits_all_its_filters(selection: Selection, takes: bool):
    assert selection.takes(LETTER) is takes


@given(offsets=st.sets(st.integers(0, 10_000)))
def test_offsets_come_back_from_their_ranges(offsets: set[int]):
    assert parse_ranges(format_ranges(offsets)) == offsets


def test_neighbouring_offsets_share_a_range():
    assert format_ranges({9, 3, 4, 5, 7}) == "3-5,7,9"


def test_the_ledger_remembers_what_was_sent_back_and_forgets_what_the_topic_no_longer_keeps():
    ledger = Ledger()
    ledger.enter([Letter(LETTER, partition=1, offset=offset) for offset in (2, 7, 8)])
    ledger.enter([Letter(LETTER, partition=3, offset=4)])
    topic = TOPICS.topic_of(DeadLetter)

    (place,) = ledger.to_commit(topic, kept_from={1: 7, 3: 5})

    assert ledger.has(Letter(LETTER, 1, 7))
    assert not ledger.has(Letter(LETTER, 1, 3))
    assert not ledger.has(Letter(LETTER, 2, 7))
    assert (place.topic, place.partition, place.offset, place.metadata) == (topic.name, 1, 9, "7-8")


LETTERS = TOPICS.topic_of(DeadLetter)


class Broker:
    """Answers a consumer that asks for its group's offsets, at first by these errors."""

    def __init__(self, *errors: int, refusal: KafkaError | None = None) -> None:
        self.errors = list(errors)
        self.refusal = refusal

    def poll(self, _timeout_s: float) -> Any:
        return SimpleNamespace(error=lambda: self.refusal) if self.refusal else None

    def committed(self, places: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        if self.errors:
            raise KafkaException(KafkaError(self.errors.pop(0)))
        return [TopicPartition(place.topic, place.partition, 9, "7-8") for place in places]


def test_the_ledger_is_read_once_the_group_has_a_coordinator_that_knows_it():
    moving = (KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS)

    ledger = Ledger.read(Broker(*moving), KafkaSettings(), LETTERS, [0])  # type: ignore[arg-type]  # a double of its consumer

    assert ledger.replayed == {0: {7, 8}}


def test_a_user_who_may_not_ask_for_the_ledger_is_told_so_though_the_client_only_waits():
    refusal = KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED, "Group authorization failed")
    broker = Broker(KafkaError._TIMED_OUT, refusal=refusal)

    with pytest.raises(ConfigurationError, match=r"Group authorization failed.*the user mes may not.*access\.yaml"):
        Ledger.read(broker, KafkaSettings(sasl_username="mes"), LETTERS, [0])  # type: ignore[arg-type]  # a double of its consumer


def test_a_broker_that_does_not_answer_for_the_ledger_is_told_at_once():
    broker = Broker(KafkaError._TRANSPORT, KafkaError._TRANSPORT)

    with pytest.raises(BrokerUnavailable, match="no answer from Kafka"):
        Ledger.read(broker, KafkaSettings(), LETTERS, [0])  # type: ignore[arg-type]  # a double of its consumer

    assert len(broker.errors) == 1


def test_a_ledger_too_scattered_to_be_written_down_says_what_to_do():
    ledger = Ledger({0: set(range(0, 10_000, 2))})

    with pytest.raises(ConfigurationError, match="replay the ones between them too"):
        ledger.to_commit(TOPICS.topic_of(DeadLetter), kept_from={})


@pytest.mark.parametrize(
    ("letter", "why"),
    [
        (LETTER, None),
        (replace(LETTER, topic="plant-7-images"), "none of this line's"),
        (replace(LETTER, value=None), "has no value"),
        (replace(LETTER, value=b""), None),
    ],
)
def test_what_has_no_topic_or_no_value_cannot_be_sent_back(letter: DeadLetter, why: str | None):
    found = replayable(letter, TOPICS)

    assert found is why is None or why in found


def test_a_deadline_is_taken_out_of_headers_and_payload():
    codec = Codec(RegistryInMemory(), TOPICS)
    event = ImageCaptured(
        event_id="e", chip_id="c", line_id="line-1", product="p", captured_at=NOW, verdict_by=NOW, sha256="ab" * 32
    )

    freed = without_deadline(replace(LETTER, value=codec.encode(event)), TOPICS, codec)

    assert freed.headers == (Header(name="chip_id", value=b"c"),)
    assert codec.decode(freed.value, ImageCaptured) == replace(event, verdict_by=None)


def test_a_payload_that_cannot_be_decoded_keeps_its_bytes():
    freed = without_deadline(LETTER, TOPICS, Codec(RegistryInMemory(), TOPICS))

    assert freed == replace(LETTER, headers=(Header(name="chip_id", value=b"c"),))


def test_a_record_that_is_sent_back_again_names_the_latest_of_its_dead_letters():
    of_a_replay = replace(LETTER, headers=(Header(name=REPLAY_OF, value=b"extractor:images:3:2"), *LETTER.headers))

    assert replay_headers(of_a_replay) == [
        ("chip_id", b"c"),
        ("verdict_by", b"1"),
        (REPLAY_OF, b"extractor:images:3:17"),
    ]


@pytest.mark.parametrize(("again", "sent", "sent_before"), [(False, [3], 1), (True, [0, 3], 0)])
def test_each_letter_is_sent_back_or_counted(again: bool, sent: list[int], sent_before: int):
    judged = replace(LETTER, event_id="judged")
    letters = [LETTER, replace(LETTER, value=None), judged, LETTER]
    mailbox = SimpleNamespace(
        letters=lambda _: [Letter(letter, 0, offset) for offset, letter in enumerate(letters)],
        ledger=Ledger({0: {0}}),
        topics=TOPICS,
        judged_meanwhile=lambda _: {Chip.of(judged)},
    )
    done = {"already_replayed": 0, "skipped": 0, "already_judged": 0}

    assert [found.offset for found in _waiting(mailbox, Selection(), done, again=again)] == sent

    assert done == {"already_replayed": sent_before, "skipped": 1, "already_judged": 1}


def test_verdicts_are_looked_for_from_the_first_failure_on(monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setattr(dead_letters, "judged", lambda chips, since, *_: asked.append((set(chips), since)))
    later = replace(LETTER, event_id="later", failed_at=NOW + timedelta(days=1))
    found = [Letter(letter, 0, 0) for letter in (LETTER, later)]

    Mailbox.judged_meanwhile(
        SimpleNamespace(letters=lambda _: found, settings=None, topics=None, codec=None), Selection()
    )

    assert asked == [({Chip.of(LETTER), Chip.of(later)}, NOW)]


class FailingProducer:
    """A transactional producer whose calls fail as told."""

    def __init__(self, **failures: KafkaError) -> None:
        self._failures = failures
        self.calls: list[str] = []

    def __getattr__(self, call: str):
        def answer(*_: object, **__: object) -> None:
            self.calls.append(call)
            if call in self._failures:
                raise KafkaException(self._failures[call])

        return answer


class ConsumerDouble:
    def consumer_group_metadata(self) -> None:
        return None


def send(producer: FailingProducer) -> None:
    send_back(
        [Letter(LETTER, partition=1, offset=2)],
        Ledger(),
        topic=TOPICS.topic_of(DeadLetter),
        kept_from={},
        consumer=ConsumerDouble(),
        producer=producer,
        settings=KafkaSettings(),
    )


ABORTABLE = KafkaError(KafkaError._TIMED_OUT, "no answer", txn_requires_abort=True)


@pytest.mark.parametrize(
    "failures",
    [
        {"begin_transaction": KafkaError(KafkaError._FENCED, fatal=True)},
        {"commit_transaction": KafkaError(KafkaError.INVALID_PRODUCER_EPOCH, fatal=True)},
        {"commit_transaction": ABORTABLE, "abort_transaction": KafkaError(KafkaError._FENCED, fatal=True)},
    ],
)
def test_a_replay_in_whose_place_another_has_begun_says_so(failures: dict[str, KafkaError]):
    with pytest.raises(ReplayFenced, match="another replay of these dead letters has begun"):
        send(FailingProducer(**failures))


def test_a_replay_whose_broker_went_away_leaves_no_transaction_open():
    producer = FailingProducer(send_offsets_to_transaction=ABORTABLE)

    with pytest.raises(BrokerUnavailable, match="no answer"):
        send(producer)

    assert producer.calls[-1] == "abort_transaction"


def test_a_replay_writes_nothing_of_its_clients_to_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dead_letters, "ADMIN_TIMEOUT_S", 0.5)
    monkeypatch.setenv("CHIPSIEVE_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")  # nothing listens there
    with pytest.raises(BrokerUnavailable):
        dead_letters._transactional_producer(Settings(), TOPICS)
    assert capfd.readouterr().err == ""


def test_what_a_dead_letter_says_does_nothing_to_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    mailbox = MagicMock(malformed=0)
    mailbox.letters.return_value = [Letter(replace(LETTER, chip_id="\x1b[2Jc"), 0, 0)]
    mailbox.ledger.has.return_value = False
    monkeypatch.setattr(dead_letters, "opened", lambda: nullcontext(mailbox))
    done = CliRunner().invoke(dead_letters.app, ["list"])
    assert r" line-1 \x1b[2Jc MALFORMED_RECORD" in done.stdout
    assert "\x1b" not in done.stdout
