from collections import deque
from threading import Event as Flag
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from shared.stream import transaction
from shared.stream.errors import ClientFailed, Fenced, OutcomeUnknown, OutputRefused, TransactionAborted
from shared.stream.record import TOMBSTONE, Output
from shared.stream.step import Source
from shared.stream.transaction import Transactions

ABORTABLE = KafkaException(KafkaError(KafkaError.UNKNOWN_MEMBER_ID, "not a member", txn_requires_abort=True))
AWAY = KafkaException(KafkaError(KafkaError._TIMED_OUT, "no answer", retriable=True))
FENCED = KafkaException(KafkaError(KafkaError._FENCED, "fenced", fatal=True))
BROKEN = KafkaException(KafkaError(KafkaError._FATAL, "broken", fatal=True))
NO_CERTIFICATE = KafkaException(KafkaError(KafkaError._INVALID_ARG, "ssl.ca.location failed: no certificate"))
TOO_LARGE = KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, "too large"))


class ProducerDouble:
    """Notes the calls made, and answers the named ones by what is next in line for them: a failure, or a number."""

    def __init__(self, calls: list[str], answers: dict[str, deque]) -> None:
        self._calls = calls
        self._answers = answers
        self.arguments: dict[str, tuple[Any, ...]] = {}
        self.named: dict[str, dict[str, Any]] = {}
        self.report: KafkaError | None = None
        """What is told of each record's delivery."""

    def __getattr__(self, name: str):
        def call(*arguments: object, **named: Any) -> Any:
            self._calls.append(name)
            self.arguments[name], self.named[name] = arguments, named
            if "on_delivery" in named:
                named["on_delivery"](self.report, None)
            answer = (self._answers.get(name) or deque([None])).popleft()
            if isinstance(answer, Exception):
                raise answer
            return answer() if callable(answer) else answer

        return call


class Setup:
    """Transactions over doubles; `calls` is what the producers were asked."""

    def __init__(self, **failures: list) -> None:
        self.calls: list[str] = []
        self.failures: dict[str, deque] = {}
        self.producers = 0
        self.signs_of_life = 0
        self.stopping = Flag()
        self.transactions = Transactions(
            self._new_producer,
            alive=self._alive,
            stopping=self.stopping,
            slot="toy-0",
            topic="images",
            outputs=[("features", 0)],
            patience_s=0.2,
        )
        assert self.transactions.open("membership")
        self.opening = list(self.calls)
        self.calls.clear()
        self.failures |= {name: deque(of_call) for name, of_call in failures.items()}

    def _alive(self) -> None:
        self.signs_of_life += 1

    def _new_producer(self) -> ProducerDouble:
        self.producers += 1
        if failure := (self.failures.get("new_producer") or deque([None])).popleft():
            raise failure
        self.producer = ProducerDouble(self.calls, self.failures)
        return self.producer

    def commit(self) -> None:
        output = Output("features", 0, b"line-1", b"value", [], Source("images", 0, 3))
        self.transactions.commit([output], {0: 4}, {0: "note"}, "membership")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transaction, "BACK_OFF_S", (0.01,))


def test_a_transaction_is_outputs_then_offsets_then_commit():
    setup = Setup()
    setup.commit()
    assert setup.calls == ["begin_transaction", "produce", "send_offsets_to_transaction", "commit_transaction"]


def test_a_record_goes_to_its_partition_with_its_headers():
    setup = Setup()
    output = Output("features", 5, b"line-1", b"value", [("chip_id", b"c")], None)
    setup.transactions.commit([output], {}, {}, "membership")
    assert setup.producer.arguments["produce"] == ("features", b"value", b"line-1")
    named = setup.producer.named["produce"]
    assert (named["partition"], named["headers"]) == (5, [("chip_id", b"c")])


def test_a_note_is_committed_with_the_offset_of_its_partition():
    setup = Setup()
    setup.commit()
    ((place,), member, _) = setup.producer.arguments["send_offsets_to_transaction"]
    assert (place.topic, place.partition, place.offset, place.metadata) == ("images", 0, 4, "note")
    assert member == "membership"


def test_a_slot_is_opened_by_ending_what_was_left_open_in_every_output_and_the_offsets():
    assert Setup().opening == [
        "init_transactions",
        "begin_transaction",
        "produce",
        "flush",
        "send_offsets_to_transaction",
        "abort_transaction",
    ]


def open_again(**answers: list) -> Setup:
    setup = Setup()
    setup.failures |= {name: deque(of_call) for name, of_call in answers.items()}
    assert setup.transactions.open("membership")
    return setup


def test_a_slot_is_opened_before_the_worker_is_a_member():
    setup = open_again(send_offsets_to_transaction=[ABORTABLE])
    assert (setup.producers, setup.calls[-1]) == (1, "abort_transaction")


@pytest.mark.parametrize("answers", [{"flush": [1]}, {"send_offsets_to_transaction": [AWAY]}])
def test_a_slot_is_not_open_until_the_broker_has_acknowledged_all_that_opens_it(answers: dict[str, list]):
    setup = open_again(**answers)
    assert (setup.producers, setup.calls.count("abort_transaction")) == (2, 1)


def test_a_slot_that_the_broker_does_not_open_keeps_no_worker_that_is_told_to_stop():
    setup = Setup(init_transactions=[AWAY] * 1000)
    setup.stopping.set()
    assert not setup.transactions.open("membership")
    assert (setup.producers, setup.calls) == (1, ["init_transactions"])


def test_a_full_queue_is_waited_for():
    setup = Setup(produce=[BufferError(), None])
    setup.commit()
    assert setup.calls[:4] == ["begin_transaction", "produce", "poll", "produce"]
    assert setup.signs_of_life == 1


def test_a_full_queue_keeps_no_worker_that_is_told_to_stop(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(transaction, "CALL_TIMEOUT_S", 0.05)
    setup = Setup(produce=[BufferError()] * 100_000)
    setup.stopping.set()
    with pytest.raises(OutcomeUnknown, match="send queue has been full"):
        setup.commit()
    assert setup.producers == 1


def test_a_worker_that_is_no_longer_a_member_aborts():
    setup = Setup(send_offsets_to_transaction=[ABORTABLE])
    with pytest.raises(TransactionAborted, match="not a member"):
        setup.commit()
    assert setup.calls[-1] == "abort_transaction"


def test_what_only_an_abort_can_mend_is_not_tried_again_before_it():
    late = KafkaException(KafkaError(KafkaError._TIMED_OUT, "too late", retriable=True, txn_requires_abort=True))
    setup = Setup(commit_transaction=[late])
    with pytest.raises(TransactionAborted, match="too late"):
        setup.commit()
    assert setup.calls[-2:] == ["commit_transaction", "abort_transaction"]


def test_a_record_too_large_is_named_by_its_source():
    setup = Setup(produce=[TOO_LARGE])
    with pytest.raises(OutputRefused) as refused:
        setup.commit()
    assert refused.value.sources == {Source("images", 0, 3)}
    setup.failures["commit_transaction"] = deque([ABORTABLE])
    with pytest.raises(TransactionAborted, match="not a member"):  # the next transaction's failure is its own
        setup.commit()


def test_a_record_that_the_broker_finds_too_large_later_is_named_too():
    setup = Setup(commit_transaction=[ABORTABLE])
    setup.producer.report = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, "too large")
    with pytest.raises(OutputRefused) as refused:
        setup.commit()
    assert refused.value.sources == {Source("images", 0, 3)}


def test_a_topic_that_the_user_may_not_write_to_is_named_with_the_remedy():
    setup = Setup(produce=[KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "denied"))])
    with pytest.raises(TransactionAborted, match=r"write to features: TOPIC_AUTH.*denied; give .* schemas/access.yaml"):
        setup.commit()
    setup.failures["commit_transaction"] = deque([ABORTABLE])
    with pytest.raises(TransactionAborted, match="aborted: not a member"):  # what was said before is not said again
        setup.commit()


def test_a_partition_that_the_client_does_not_know_is_asked_for_before_the_batch_is_tried_again():
    unknown = KafkaException(KafkaError(KafkaError._UNKNOWN_PARTITION, "unknown partition"))
    setup = Setup(produce=[unknown], list_topics=[AWAY])
    with pytest.raises(TransactionAborted, match="unknown partition"):
        setup.commit()
    assert setup.calls == ["begin_transaction", "produce", "list_topics", "abort_transaction"]
    assert setup.producer.arguments["list_topics"][0] == "features"


@pytest.mark.parametrize("call", ["send_offsets_to_transaction", "commit_transaction"])
def test_a_call_that_fails_over_a_line_to_log_is_told_by_what_the_client_says_next(call: str):
    """As seen from confluent-kafka 2.16 when a producer is fenced while a broker comes back."""
    garbled = SystemError("<class 'logging.LogRecord'> returned a result with an exception set")
    fenced = Setup(begin_transaction=[None, FENCED], **{call: [garbled]})
    with pytest.raises(Fenced, match="another process has taken the worker slot toy-0"):
        fenced.commit()
    unknown = Setup(**{call: [garbled]})
    with pytest.raises(ClientFailed, match="LogRecord"):
        unknown.commit()


def test_so_it_is_where_a_slot_is_opened_again():
    setup = Setup(
        commit_transaction=[AWAY] * 100,
        flush=[SystemError("returned a result with an exception set")],
        begin_transaction=[None, None, FENCED],
    )
    with pytest.raises(Fenced, match="toy-0"):
        setup.commit()


@pytest.mark.parametrize(
    "failures", [{"commit_transaction": [FENCED]}, {"commit_transaction": [ABORTABLE], "abort_transaction": [FENCED]}]
)
def test_another_process_in_the_slot_ends_this_one(failures: dict[str, list]):
    setup = Setup(**failures)
    with pytest.raises(Fenced, match="toy-0"):
        setup.commit()


def test_a_client_that_cannot_go_on_ends_the_stage():
    with pytest.raises(ClientFailed, match="broken"):
        Setup(commit_transaction=[BROKEN]).commit()


def test_a_commit_that_the_broker_does_not_answer_in_time_is_asked_for_again():
    setup = Setup(commit_transaction=[AWAY, AWAY, None])
    setup.commit()
    assert (setup.calls.count("commit_transaction"), setup.signs_of_life) == (3, 2)


def test_offsets_that_are_never_answered_for_cost_the_producer_and_the_certainty(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(transaction, "SIGN_OF_LIFE_S", 0.01)
    answered = Flag()
    setup = Setup(send_offsets_to_transaction=[lambda: answered.wait(timeout=60)])
    with pytest.raises(OutcomeUnknown, match="no answer to send_offsets_to_transaction"):
        setup.commit()
    answered.set()
    assert setup.signs_of_life > 0
    assert (setup.producers, setup.calls.count("commit_transaction")) == (2, 0)


def test_a_broker_that_stays_away_costs_the_producer_and_the_certainty():
    setup = Setup(commit_transaction=[AWAY] * 1000)
    with pytest.raises(OutcomeUnknown):
        setup.commit()
    assert setup.producers == 2
    setup.failures.clear()
    setup.commit()


def test_a_producer_that_cannot_be_made_for_want_of_certificates_is_made_once_they_can_be_read():
    setup = Setup(commit_transaction=[AWAY] * 1000, new_producer=[NO_CERTIFICATE, NO_CERTIFICATE, None])
    with pytest.raises(OutcomeUnknown):
        setup.commit()
    assert setup.producers == 4
    setup.failures.clear()
    setup.commit()


def test_a_broker_that_ended_an_old_transaction_by_itself_did_not_give_the_slot_away():
    setup = Setup(commit_transaction=[AWAY, FENCED])
    with pytest.raises(OutcomeUnknown):
        setup.commit()
    assert setup.producers == 2


def test_a_slot_that_is_lost_long_after_the_broker_was_away_is_lost():
    setup = Setup(commit_transaction=[AWAY, None, FENCED])
    setup.commit()
    with pytest.raises(Fenced, match="toy-0"):
        setup.commit()


@pytest.mark.parametrize("call", ["send_offsets_to_transaction", "commit_transaction"])
def test_a_process_that_was_stopped_during_a_call_does_not_take_its_slot_back(
    call: str, monkeypatch: pytest.MonkeyPatch
):
    setup = Setup(**{call: [AWAY] * 1000})
    monkeypatch.setattr(transaction, "CALL_TIMEOUT_S", 0.0)
    monkeypatch.setattr(transaction, "STOOD_STILL_S", -1.0)  # as if every call came back late
    with pytest.raises(Fenced, match="was stopped"):
        setup.commit()
    assert setup.producers == 1


def test_told_to_stop_it_does_not_wait_for_the_broker():
    setup = Setup(commit_transaction=[AWAY] * 1000)
    setup.stopping.set()
    with pytest.raises(OutcomeUnknown):
        setup.commit()
    assert setup.producers == 1
    assert setup.calls.count("commit_transaction") == 1


def test_a_producer_that_is_replaced_leaves_no_thread_behind():
    setup = Setup(commit_transaction=[AWAY] * 100, abort_transaction=[AWAY] * 100)
    first = setup.transactions._sender._thread
    with pytest.raises(OutcomeUnknown):
        setup.commit()
    first.join(timeout=10)
    assert setup.producers > 1
    assert not first.is_alive()


def test_what_is_forgotten_is_a_record_without_a_value_which_compaction_takes_away():
    setup = Setup()
    setup.transactions.commit([Output("lines", 0, b"line-1", TOMBSTONE, [], None)], {0: 4}, {}, "membership")
    assert setup.producer.arguments["produce"] == ("lines", None, b"line-1")
