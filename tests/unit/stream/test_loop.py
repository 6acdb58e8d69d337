"""The loop against a log in memory: what is committed, in which order, whatever fails on the way."""

from collections.abc import Callable
from threading import Event as Flag

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.events import AlertKind, AlertRaised, LineObserved, Verdict
from shared.stream import loop as loop_module
from shared.stream import notes, partitions
from shared.stream.errors import OutcomeUnknown, OutputRefused, TooManyDeadLetters, TransactionAborted
from shared.stream.step import Source
from shared.wire.errors import RegistryUnavailable
from tests.events_of_chips import NOON, image_captured
from tests.toy_stage import OnceStep, ToyStep
from tests.unit.stream.doubles import TOPIC
from tests.unit.stream.stage import CODEC, IMAGES, Stage, ids, log_of


def test_records_are_committed_in_the_order_of_their_partition():
    assert Stage(log_of(range(10))).run() == ids(*range(10))


def test_an_aborted_batch_is_read_again_from_the_last_commit():
    stage = Stage(log_of(range(12)))
    stage.transactions.failures.extend([None, TransactionAborted("UNKNOWN_MEMBER_ID")])
    assert stage.run() == ids(*range(12))
    assert stage.step.forgotten[0] == 1


def test_a_batch_whose_outcome_is_unknown_but_took_effect_is_not_done_twice():
    stage = Stage(log_of(range(12)))
    stage.transactions.failures.append(OutcomeUnknown("the broker went away"))
    stage.transactions.takes_effect_though_it_fails = True
    assert stage.run() == ids(*range(12))


def test_a_batch_whose_outcome_is_unknown_and_took_no_effect_is_done_again():
    stage = Stage(log_of(range(12)))
    stage.transactions.failures.append(OutcomeUnknown("the broker went away"))
    assert stage.run() == ids(*range(12))


def test_nothing_of_a_partition_is_taken_until_it_could_be_rewound():
    stage = Stage(log_of(range(12)))
    stage.transactions.failures.append(TransactionAborted("aborted"))
    stage.consumer.seek_fails = 3
    assert stage.run() == ids(*range(12))


def test_records_that_the_client_delivers_again_are_not_taken_again():
    stage = Stage(log_of(range(40)))

    def go_back_to_the_beginning() -> None:
        if not stage.committed():
            stage.consumer.between_polls.append(go_back_to_the_beginning)
        else:
            stage.consumer.position[0] = 0

    stage.consumer.between_polls.append(go_back_to_the_beginning)
    assert stage.run() == ids(*range(40))
    begun, sent_on = stage.consumer.sought
    assert begun == 0 < sent_on


def test_records_that_expire_before_they_are_read_do_not_stop_the_rest():
    stage = Stage(log_of(range(40)))

    def expire() -> None:
        if not stage.committed():
            stage.consumer.between_polls.append(expire)
            return
        expired.extend(range(stage.consumer.position[0], stage.consumer.position[0] + 5))
        stage.consumer.first[0] = stage.consumer.position[0] = expired[-1] + 1

    expired: list[int] = []
    stage.consumer.between_polls.append(expire)
    assert stage.run() == ids(*(number for number in range(40) if number not in expired))
    assert len(expired) == 5


def test_a_partition_whose_log_was_cut_short_is_begun_as_such(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(partitions, "LOOKED_UP_AFTER_S", -1.0)
    stage = Stage(log_of(range(40)))

    def go_back_to_the_beginning() -> None:
        if not stage.committed():
            stage.consumer.between_polls.append(go_back_to_the_beginning)
        else:
            stage.consumer.position[0] = 0

    stage.consumer.between_polls.append(go_back_to_the_beginning)
    assert stage.run() == ids(*range(40))
    assert stage.pasts.cut_short == [0]


def test_a_worker_out_of_touch_with_its_group_joins_it_anew_and_repeats_nothing():
    stage = Stage(log_of(range(20), range(20, 40)))
    stage.membership.out_of_touch = 2
    assert sorted(stage.run()) == sorted(ids(*range(40)))
    assert stage.consumer.unsubscribed == 2


def test_an_output_that_the_broker_refuses_makes_a_dead_letter_of_its_record_alone():
    stage = Stage(log_of(range(6)))
    stage.transactions.failures.append(OutputRefused("too large", [Source(TOPIC, 0, 2)]))
    assert stage.run() == ids(*range(6))
    assert stage.committed("dead-letters") == ids(2)


def test_a_batch_over_the_dead_letter_limit_is_not_committed_nor_any_after_it():
    poison = [CODEC.encode(image_captured(b"picture", number, product="poison")) for number in range(20)]
    stage = Stage({0: [*poison, IMAGES[20]]}, dead_letter_streak=6)
    with pytest.raises(TooManyDeadLetters, match="product poison is unknown"):
        stage.run()
    assert stage.committed("dead-letters") == ids(0, 1, 2, 3)
    assert stage.consumer.committed_offsets == {0: 4}


def test_a_step_that_is_not_ready_gets_the_same_records_again_with_its_partitions_paused():
    stage = Stage(log_of(range(8)))
    stage.step.ready.clear()
    paused = []

    def get_ready() -> None:
        paused.append(set(stage.consumer.paused))
        if len(stage.step.batches) < 3:
            stage.consumer.between_polls.append(get_ready)
        else:
            stage.step.ready.set()

    stage.consumer.between_polls.append(get_ready)
    assert stage.run() == ids(*range(8))
    assert stage.step.batches[:3] == [ids(0, 1, 2, 3)] * 3
    assert {0} in paused
    assert stage.vitals.waiting_for is None


def test_a_chip_that_is_sent_back_right_behind_its_failure_gets_its_verdict():
    poison = CODEC.encode(image_captured(b"picture", 0, product="poison"))
    stage = Stage({0: [poison, IMAGES[0], IMAGES[0], IMAGES[1]]}, OnceStep())
    stage.consumer.headers = {(0, offset): [("replay_of", b"toy:images:0:0")] for offset in (1, 2)}
    assert stage.run() == ids(0, 0, 1)
    assert stage.committed("dead-letters") == ids(0)


def test_on_revocation_the_batch_in_flight_is_committed_and_the_rest_dropped():
    stage = Stage(log_of(range(10), range(20, 30)))
    stage.consumer.between_polls.extend([lambda: None, lambda: stage.consumer.revoke({0})])
    committed = stage.run()
    of_revoked = [event_id for event_id in committed if event_id in ids(*range(10))]
    assert of_revoked == ids(*range(stage.consumer.committed_offsets.get(0, 0)))
    assert [event_id for event_id in committed if event_id not in of_revoked] == ids(*range(20, 30))


def test_of_lost_partitions_nothing_more_is_committed():
    stage = Stage(log_of(range(10), range(20, 30)))
    stage.step.may_go_on.clear()

    def lose() -> None:
        stage.consumer.lose({0})
        stage.step.may_go_on.set()

    stage.consumer.between_polls.extend([lambda: None, lambda: None, lose])
    assert stage.run() == ids(*range(20, 30))
    assert stage.step.forgotten[0] >= 1


def test_a_partition_that_comes_back_goes_on_where_it_was_committed():
    stage = Stage(log_of(range(10), range(20, 30)))

    def come_back() -> None:
        stage.consumer.assign({0})

    stage.consumer.between_polls.extend([lambda: None, lambda: stage.consumer.revoke({0}), come_back])
    assert sorted(stage.run()) == sorted(ids(*range(10), *range(20, 30)))


def test_a_partition_that_was_lost_while_paused_is_read_when_it_comes_back():
    stage = Stage(log_of(range(10)))
    stage.transactions.failures.append(TransactionAborted("aborted, so partitions pause for a while"))

    def lose_once_paused() -> None:
        if stage.consumer.paused:
            stage.consumer.lose({0})
            stage.consumer.between_polls.extend([come_back])
        else:
            stage.consumer.between_polls.append(lose_once_paused)

    def come_back() -> None:
        if not stage.loop._hold.is_over:
            stage.consumer.between_polls.append(come_back)
        else:
            stage.consumer.assign({0})

    stage.consumer.between_polls.append(lose_once_paused)
    assert stage.run() == ids(*range(10))


def test_records_that_the_step_was_not_ready_for_hold_up_nothing_once_they_are_anothers():
    stage = Stage(log_of(range(10)))
    stage.step.ready.clear()

    def lose_once_waiting() -> None:
        if stage.vitals.waiting_for:
            stage.consumer.lose({0})
            stage.step.ready.set()
            stage.consumer.between_polls.append(come_back)
        else:
            stage.consumer.between_polls.append(lose_once_waiting)

    def come_back() -> None:
        stage.consumer.assign({0})

    stage.consumer.between_polls.append(lose_once_waiting)
    assert stage.run() == ids(*range(10))
    assert stage.vitals.waiting_for is None


def test_a_stage_is_ready_again_where_a_commit_took_effect_whose_answer_was_lost_and_nothing_follows():
    stage = Stage(log_of(range(2)))
    stage.transactions.failures.append(OutcomeUnknown("the broker went away"))
    stage.transactions.takes_effect_though_it_fails = True
    told = watch_what_it_waits_for(stage)
    assert stage.run() == ids(0, 1)
    assert told == [None, "the broker went away", None]


def test_a_stage_is_ready_again_once_the_partitions_of_a_failed_commit_are_anothers():
    stage = Stage(log_of(range(4)))
    stage.transactions.failures.append(TransactionAborted("UNKNOWN_MEMBER_ID"))
    told = watch_what_it_waits_for(stage, then=lambda: stage.consumer.lose({0}))
    assert stage.run() == []
    assert told == [None, "UNKNOWN_MEMBER_ID", None]


def test_a_stage_whose_commits_go_on_failing_stays_unready_between_them():
    stage = Stage(log_of(range(4)))
    stage.transactions.failures.extend([TransactionAborted("no room")] * 3)
    told = watch_what_it_waits_for(stage)
    assert stage.run() == ids(*range(4))
    assert told == [None, "no room", None]


def watch_what_it_waits_for(stage: Stage, then: Callable[[], None] = lambda: None) -> list[str | None]:
    """What `/readyz` would say, one change after the other; `then` is done once it waits. Ends with the wait."""
    told: list[str | None] = [None]

    def look() -> None:
        if told[-1] != stage.vitals.waiting_for:
            told.append(stage.vitals.waiting_for)
            if told[-1]:
                then()
        if len(told) < 3:
            stage.consumer.between_polls.append(look)

    stage.consumer.between_polls.append(look)
    return told


class CountingStep(ToyStep):
    """Counts the chips of each partition; the clock tells once that there were three."""

    recalls = LineObserved

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[int, int] = {}
        self.told: set[int] = set()
        self.changed: set[int] = set()

    def process(self, records):
        for record in records:
            self.seen[record.source.partition] = self.seen.get(record.source.partition, 0) + 1
            self.changed.add(record.source.partition)
        return super().process(records)

    def tick(self, now):
        due = {partition for partition, seen in self.seen.items() if seen >= 3} - self.told
        self.told |= due
        self.changed |= due
        return {partition: [alert(partition)] for partition in due}

    def to_keep(self):
        changed, self.changed = self.changed, set()
        return {partition: [self._kept(partition)] for partition in changed}

    def recall(self, partition, kept):
        assert partition not in self.seen, "recalled without having been forgotten"
        for event in kept:
            self.seen[partition] = event.seen
            self.told |= set() if event.silence_armed else {partition}

    def forget(self, partitions):
        super().forget(partitions)
        for partition in partitions:
            self.seen.pop(partition, None)
            self.told.discard(partition)
            self.changed.discard(partition)

    def _kept(self, partition: int) -> LineObserved:
        return LineObserved(
            line_id="line-1",
            event_id="e",
            chip_id="c",
            product="p",
            verdict=Verdict.PASS,
            seen=self.seen[partition],
            rejects=b"",
            streak=0,
            burst_armed=True,
            streak_armed=True,
            silence_armed=partition not in self.told,
            seen_at=NOON,
        )


def test_the_clock_makes_nothing_due_of_a_partition_that_is_recalled_but_not_begun(monkeypatch):
    monkeypatch.setattr(loop_module, "TICK_S", 0.0)

    class Recalling(CountingStep):
        def recall(self, partition, kept):
            self.seen[partition] = 3 if partition == 1 else 0

    stage = Stage(log_of(range(2), range(10, 11)), Recalling())
    seek, refusals = stage.consumer.seek, iter(range(5))

    def refuse_for_a_while(place: TopicPartition) -> None:
        if place.partition == 1 and next(refusals, None) is not None:
            raise KafkaException("erroneous state")
        seek(place)

    stage.consumer.seek = refuse_for_a_while
    assert sorted(stage.run()) == sorted(ids(0, 1, 10))
    assert [output.partition for output in stage.transactions.outputs if output.topic == "alerts"] == [1]


@pytest.mark.parametrize("end", ["told to stop", "revoked"])
def test_what_was_judged_without_the_past_that_could_not_be_recalled_is_not_committed(end):
    may_fail = Flag()

    class Forgetful(CountingStep):
        def recall(self, partition, kept):
            may_fail.wait(timeout=60)
            raise RuntimeError("an unforeseen past")

    stage = Stage(log_of(range(4)), Forgetful())
    finish = stage.loop._finish_in_flight

    def fail_and_finish(budget_s: float) -> None:
        may_fail.set()
        finish(budget_s)

    def end_once_a_batch_is_in_flight() -> None:
        if stage.vitals.worker_busy_since is None:
            stage.consumer.between_polls.append(end_once_a_batch_is_in_flight)
        elif end == "revoked":
            stage.consumer.revoke({0})
        else:
            stage.stopping.set()

    stage.loop._finish_in_flight = fail_and_finish
    stage.consumer.between_polls.append(end_once_a_batch_is_in_flight)
    with pytest.raises(RuntimeError, match="an unforeseen past"):
        stage.run()
    assert (stage.committed(), stage.consumer.committed_offsets) == ([], {})


def alert(partition: int) -> AlertRaised:
    return AlertRaised(
        alert_id=str(partition),
        line_id="line-1",
        kind=AlertKind.LINE_SILENT,
        rule="three",
        message="three chips",
        raised_at=NOON,
    )


FAILURES = st.sampled_from(["committed", "aborted", "unknown"])
CHANGES = st.sampled_from(["nothing", "revoke", "lose", "deliver again"])


def faulty_stage(step: ToyStep, lengths: list[int], batch_size: int, failures: list[str], changes: list[str]) -> Stage:
    """A stage whose transactions fail, whose partitions go and come back, and whose client delivers records again."""
    numbers = iter(range(60))
    stage = Stage(log_of(*[[next(numbers) for _ in range(length)] for length in lengths]), step, batch_size=batch_size)
    stage.transactions.failures.extend(
        {"committed": None, "aborted": TransactionAborted("x"), "unknown": OutcomeUnknown("x")}[f] for f in failures
    )

    def change(kind: str) -> None:
        if kind == "nothing":
            return
        if kind == "deliver again":
            stage.consumer.position[0] = 0
            return
        {"revoke": stage.consumer.revoke, "lose": stage.consumer.lose}[kind]({0})
        stage.consumer.between_polls.appendleft(come_back)

    def come_back() -> None:
        stage.consumer.assign({0})

    stage.consumer.between_polls.extend([lambda kind=kind: change(kind) for kind in changes])
    return stage


WITH_FAULTS = given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=3),
    batch_size=st.integers(1, 5),
    failures=st.lists(FAILURES, max_size=3),
    changes=st.lists(CHANGES, max_size=4),
)


@WITH_FAULTS
@settings(max_examples=40, deadline=None)
def test_whatever_happens_each_record_is_committed_once_and_in_order(lengths, batch_size, failures, changes):
    committed = faulty_stage(ToyStep(), lengths, batch_size, failures, changes).run()
    first = 0
    for length in lengths:
        chips = ids(*range(first, first + length))
        assert [event_id for event_id in committed if event_id in chips] == chips
        first += length
    assert len(committed) == sum(lengths)


@pytest.mark.parametrize("note_bytes", [0, 200, 1500], ids=["all written", "some written", "all noted"])
@WITH_FAULTS
@settings(max_examples=40, deadline=None)
def test_whatever_happens_what_is_kept_is_what_was_committed(note_bytes, lengths, batch_size, failures, changes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop_module, "TICK_S", 0.0)
        patch.setattr(notes, "NOTE_BYTES", note_bytes)
        stage = faulty_stage(CountingStep(), lengths, batch_size, failures, changes)
        stage.run()
    past = {partition: stage.pasts.begin(partition).result() for partition, length in enumerate(lengths) if length}
    kept = {partition: event for partition, read in past.items() for event in read.kept[LineObserved]}
    assert {partition: event.seen for partition, event in kept.items()} == {
        partition: length for partition, length in enumerate(lengths) if length
    }
    told = [output.partition for output in stage.transactions.outputs if output.topic == "alerts"]
    assert sorted(told) == sorted(partition for partition, event in kept.items() if not event.silence_armed)


def test_what_is_noted_is_written_by_the_clock_once_though_no_chip_comes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loop_module, "TICK_S", 0.0)
    monkeypatch.setattr(notes, "NOTE_AGE_S", 0.05)
    stage = Stage(log_of(range(3), range(3, 5)), OnceStep())
    commits: list[None] = []
    stage.transactions.before_commit = lambda: commits.append(None)

    def settled() -> list[int]:
        return [output.partition for output in stage.transactions.outputs if output.topic == "settled"]

    def go_on_until_written() -> None:
        if len(set(settled())) < 2:
            stage.consumer.between_polls.append(go_on_until_written)
        else:
            written.append(len(commits))
            stage.consumer.between_polls.extend([lambda: None] * 20)

    written: list[int] = []
    stage.consumer.between_polls.append(go_on_until_written)
    stage.run()
    assert stage.transactions.notes == {0: "", 1: ""}
    assert [len(commits)] == written, "with nothing noted there is nothing to commit"


def test_a_partition_whose_past_cannot_be_read_now_is_asked_for_again():
    stage = Stage(log_of(range(6)), CountingStep())
    stage.pasts.failures.extend([KafkaException(KafkaError(KafkaError._TRANSPORT)), RegistryUnavailable("down")])
    assert stage.run() == ids(*range(6))
