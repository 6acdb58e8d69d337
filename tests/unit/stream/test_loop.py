"""The loop against a log in memory: what is committed, in which order, whatever fails on the way."""

from collections.abc import Callable

import pytest
from prometheus_client import REGISTRY

from shared.identity import headers_of
from shared.stream import loop, partitions
from shared.stream.deadline import NOTHING
from shared.stream.errors import (
    ClientFailed,
    Fenced,
    OutcomeUnknown,
    OutputRefused,
    TooManyDeadLetters,
    TransactionAborted,
)
from shared.stream.step import Source
from tests.events_of_chips import NOON, image_captured
from tests.toy_stage import OnceStep
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


def deliver_again_after_the_first_commit(stage: Stage) -> None:
    """Have the client go back to the log's beginning."""

    def look() -> None:
        if not stage.committed():
            stage.consumer.between_polls.append(look)
        else:
            stage.consumer.position[0] = 0

    stage.consumer.between_polls.append(look)


def test_records_that_the_client_delivers_again_are_not_taken_again():
    stage = Stage(log_of(range(40)))
    deliver_again_after_the_first_commit(stage)
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
    deliver_again_after_the_first_commit(stage)
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


def test_a_record_of_which_the_broker_takes_not_even_a_dead_letter_stops_the_stage():
    stage = Stage(log_of(range(6)))
    stage.transactions.failures.extend([OutputRefused("too large", [Source(TOPIC, 0, 2)])] * 2)
    with pytest.raises(ClientFailed, match="not even the dead letter"):
        stage.run()
    assert stage.consumer.committed_offsets == {}


def test_what_is_committed_and_what_takes_no_effect_is_counted():
    def counted() -> list[float]:
        return [
            REGISTRY.get_sample_value(f"chipsieve_{name}", {"stage": "toy"} | more) or 0
            for name, more in (
                ("chips_total", {"verdict": "FORWARDED"}),
                ("batch_size_sum", {}),
                ("batch_seconds_count", {}),
                ("transaction_seconds_count", {}),
                ("transactions_aborted_total", {}),
                ("rebalances_total", {"change": "assigned"}),
            )
        ]

    before = counted()
    stage = Stage(log_of(range(10)), batch_size=10)
    stage.transactions.failures.append(TransactionAborted("aborted"))
    stage.run()
    assert [now - was for now, was in zip(counted(), before, strict=True)] == [10, 20, 2, 1, 1, 1]


def test_how_long_batches_take_is_learnt_from_them():
    stage = Stage(log_of(range(10)))
    stage.run()
    assert stage.loop._judging._pace.needed > NOTHING


def test_a_backlog_of_late_chips_drains_in_a_few_transactions():
    late = [image_captured(b"picture", number, verdict_by=NOON) for number in range(100)]
    stage, commits = Stage({0: [CODEC.encode(chip) for chip in late]}), []
    stage.consumer.headers = {(0, offset): headers_of(chip) for offset, chip in enumerate(late)}
    stage.transactions.before_commit = lambda: commits.append(None)
    assert stage.run() == ids(*range(100))
    assert len(commits) < 25  # a batch holds four chips that are on time


def test_a_batch_over_the_dead_letter_limit_is_not_committed_nor_any_after_it():
    poison = [CODEC.encode(image_captured(b"picture", number, product="poison")) for number in range(20)]
    stage = Stage({0: [*poison, IMAGES[20]]}, dead_letter_streak=6)
    with pytest.raises(TooManyDeadLetters, match="product poison is unknown"):
        stage.run()
    assert stage.committed("dead-letters") == ids(0, 1, 2, 3)
    assert stage.consumer.committed_offsets == {0: 4}


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


def revoke_once_a_batch_is_in_flight(stage: Stage, *, goes_on_first: bool = True) -> None:
    stage.step.may_go_on.clear()

    def look() -> None:
        if not stage.step.batches:
            stage.consumer.between_polls.append(look)
            return
        if goes_on_first:
            stage.step.may_go_on.set()
        stage.consumer.revoke({0})
        stage.step.may_go_on.set()

    stage.consumer.between_polls.append(look)


def test_the_batch_in_flight_is_committed_before_its_partition_goes():
    stage = Stage(log_of(range(10)))
    revoke_once_a_batch_is_in_flight(stage)
    assert stage.run() == ids(*range(4))
    assert stage.vitals.partitions == frozenset()
    assert REGISTRY.get_sample_value("chipsieve_assigned_partitions", {"stage": "toy"}) == 0


def test_a_batch_that_its_partition_cannot_wait_for_is_dropped(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loop, "REVOKE_BUDGET_S", 0.0)
    stage = Stage(log_of(range(10), range(20, 30)))
    revoke_once_a_batch_is_in_flight(stage, goes_on_first=False)
    assert stage.run() == ids(*range(20, 30))


def test_what_fails_while_a_partition_goes_ends_the_stage():
    stage = Stage(log_of(range(10)))
    stage.transactions.failures.append(Fenced("the slot is another's"))
    revoke_once_a_batch_is_in_flight(stage)
    with pytest.raises(Fenced):
        stage.run()
    assert stage.committed() == []


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


def test_a_stage_is_not_ready_from_the_moment_that_it_is_given_partitions_it_has_not_begun_with():
    stage = Stage(log_of(range(4)))
    assign = stage.consumer.assign
    told: list[str | None] = []

    def assign_and_look(partitions: set[int]) -> None:
        assign(partitions)
        told.append(stage.vitals.not_ready_because())  # until the poll ends, which may take a quarter of a second

    stage.consumer.assign = assign_and_look
    assert stage.run() == ids(*range(4))
    assert told == ["reading what was kept of partitions [0]"]
    assert stage.vitals.beginning == frozenset()
