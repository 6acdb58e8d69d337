"""What `chipsieve dead-letters` lists and sends back."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner

from services.cli import dead_letters
from services.cli.replay import Ledger, ReplayFenced, send_back
from shared.events import DeadLetter, Header, ImageCaptured, UninspectedReason, Verdict
from shared.settings import Settings
from shared.topics import Topics
from shared.wire.codec import Codec
from tests.contract.examples import EXAMPLES
from tests.integration.commands.conftest import FLUSH_S, app, documents, run
from tests.kafka_records import Records
from tests.raw_producer import send_raw


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

    def test_are_listed_where_there_are_none_by_saying_so_to_a_person(self, topics: Topics):
        assert documents("dead-letters", "list") == [{"dead_letters": [], "malformed": 0}]
        for chosen, said in (((), "no dead letters\n"), (("--since", "1h"), "no dead letters of these\n")):
            listed = CliRunner().invoke(app, ["dead-letters", "list", *chosen])
            assert (listed.exit_code, listed.stdout, listed.stderr) == (0, "", said)

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
        assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ ", run("dead-letters", "list"))
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

    def test_go_back_where_a_verdict_topic_holds_a_record_whose_headers_cannot_be_read(
        self, topics: Topics, letters: list[DeadLetter]
    ):
        send_raw(
            Settings().kafka.bootstrap_servers, topics.by_name["inspections"].name, b"x", headers=[(b"\xff\xfe", b"1")]
        )
        told = run("dead-letters", "replay", "--dry-run", "--stage", "extractor", "--json")

        done = json.loads(told.splitlines()[-1])  # after a line of the log, which has no other place in a test
        assert (done["replayed"], done["already_judged"]) == (4, 0)
