"""What `chipsieve tail` shows of a topic."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

from confluent_kafka import Producer

from shared.kafka import (
    transactional_producer_config,
)
from shared.settings import Settings
from shared.topics import Topics
from shared.wire.codec import Codec
from tests.contract.examples import EXAMPLES
from tests.integration.commands.conftest import FLUSH_S, documents

# As from a terminal: a job that a shell put into the background ignores Ctrl-C, and so does all that it starts.
TAIL_COMMAND = (
    "import signal, typer; from services.cli.tail import tail; "
    "signal.signal(signal.SIGINT, signal.default_int_handler); typer.run(tail)"
)


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
