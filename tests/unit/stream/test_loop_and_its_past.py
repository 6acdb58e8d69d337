"""The loop and what a stage knows of its partitions: recalled, kept and forgotten, whatever fails on the way."""

from itertools import repeat
from threading import Event as Flag

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.events import AlertKind, AlertRaised, LineObserved, Verdict
from shared.stream import judging, notes, waiting
from shared.stream.errors import OutcomeUnknown, TransactionAborted
from shared.stream.step import Forgotten
from shared.wire.errors import RegistryUnavailable
from tests.events_of_chips import NOON
from tests.toy_stage import OnceStep, ToyStep
from tests.unit.stream.stage import Stage, ids, log_of


class CountingStep(ToyStep):
    """Counts the chips of each partition; the clock tells once that there were three."""

    recalls = LineObserved

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[int, int] = {}
        self.told: set[int] = set()
        self.changed: set[int] = set()

    def process(self, records):
        outcomes = super().process(records)  # raises before anything is counted
        for record in records:
            self.seen[record.source.partition] = self.seen.get(record.source.partition, 0) + 1
            self.changed.add(record.source.partition)
        return outcomes

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
    monkeypatch.setattr(judging, "TICK_S", 0.0)

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


def faulty_stage(
    step: ToyStep,
    lengths: list[int],
    *,
    batch_size: int,
    failures: list[str],
    changes: list[str],
    lacking: dict[int, int],
) -> Stage:
    """A stage whose transactions fail, whose partitions go and come back, and whose client delivers records again.

    `lacking` says how often a chip cannot be judged, by its number.
    """
    step.lacking.update({f"event-{number}": times for number, times in lacking.items()})
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
    lacking=st.dictionaries(st.integers(0, 26), st.integers(1, 3), max_size=4),
)


@pytest.fixture(autouse=True)
def tries_in_quick_succession(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what cannot be judged."""
    monkeypatch.setattr(waiting, "back_off", lambda: repeat(0.002))
    monkeypatch.setattr(waiting, "REST_SHARE", 0.0)


@WITH_FAULTS
@settings(max_examples=40, deadline=None)
def test_whatever_happens_each_record_is_committed_once_and_in_order(lengths, **faults):
    committed = faulty_stage(ToyStep(), lengths, **faults).run()
    first = 0
    for length in lengths:
        chips = ids(*range(first, first + length))
        assert [event_id for event_id in committed if event_id in chips] == chips
        first += length
    assert len(committed) == sum(lengths)


@pytest.mark.parametrize("note_bytes", [0, 200, 1500], ids=["all written", "some written", "all noted"])
@WITH_FAULTS
@settings(max_examples=40, deadline=None)
def test_whatever_happens_what_is_kept_is_what_was_committed(note_bytes, lengths, **faults):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "TICK_S", 0.0)
        patch.setattr(notes, "NOTE_BYTES", note_bytes)
        stage = faulty_stage(CountingStep(), lengths, **faults)
        stage.run()
    past = {partition: stage.pasts.begin(partition).result() for partition, length in enumerate(lengths) if length}
    kept = {partition: event for partition, read in past.items() for event in read.kept[LineObserved]}
    assert {partition: event.seen for partition, event in kept.items()} == {
        partition: length for partition, length in enumerate(lengths) if length
    }
    told = [output.partition for output in stage.transactions.outputs if output.topic == "alerts"]
    assert sorted(told) == sorted(partition for partition, event in kept.items() if not event.silence_armed)


def test_what_is_noted_is_written_by_the_clock_once_though_no_chip_comes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(judging, "TICK_S", 0.0)
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


def test_what_is_forgotten_is_not_recalled_by_whoever_goes_on():
    class Forgetting(CountingStep):
        def to_keep(self):
            kept = super().to_keep()
            return {
                partition: [Forgotten(LineObserved, "line-1")] if self.seen[partition] == 4 else events
                for partition, events in kept.items()
            }

    stage = Stage(log_of(range(4)), Forgetting())
    stage.run()
    assert stage.pasts.begin(0).result().kept[LineObserved] == []


def test_a_partition_whose_past_cannot_be_read_now_is_asked_for_again():
    stage = Stage(log_of(range(6)), CountingStep())
    stage.pasts.failures.extend([KafkaException(KafkaError(KafkaError._TRANSPORT)), RegistryUnavailable("down")])
    assert stage.run() == ids(*range(6))
