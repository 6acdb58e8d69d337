"""The loop while a commit is under way: what goes on meanwhile, and what waits for it."""

from collections.abc import Callable
from itertools import count
from threading import Event as Flag
from threading import Timer
from unittest.mock import Mock

import pytest

from shared.stream.errors import OutcomeUnknown, TransactionAborted
from tests.unit.stream.stage import IMAGES, Stage, ids, log_of


class Overlap:
    """Holds the first commit up until the test lets it go, and acts between polls once it is under way."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.under_way = Flag()
        self._may_end = Flag()
        self._first = True
        stage.transactions.before_commit = self._before_commit

    def _before_commit(self) -> None:
        if self._first:
            self._first = False
            self.under_way.set()
            assert self._may_end.wait(60)

    def end(self) -> None:
        self._may_end.set()

    def once(self, condition: Callable[[], object], act: Callable[[], None]) -> None:
        """Call `act` between the first two polls at which the commit is under way and the condition holds."""

        def between_polls() -> None:
            if self.under_way.is_set() and condition():
                act()
            else:
                self._stage.consumer.between_polls.append(between_polls)

        self._stage.consumer.between_polls.append(between_polls)


def test_a_record_that_comes_during_a_commit_is_with_the_worker_before_the_commit_ends():
    stage = Stage(log_of(range(4)))
    commit = Overlap(stage)

    def come() -> None:
        stage.consumer.log[0].append(IMAGES[4])
        commit.once(lambda: ids(4) in stage.step.batches, commit.end)

    commit.once(lambda: True, come)
    assert stage.run() == ids(*range(5))


def test_one_commit_is_under_way_at_a_time_and_a_judged_batch_waits_for_it():
    stage = Stage(log_of(range(16)))
    commit = Overlap(stage)
    committed_meanwhile = []

    def end() -> None:
        committed_meanwhile.extend(stage.committed())
        commit.end()

    commit.once(lambda: len(stage.step.batches) == 2 and stage.vitals.worker_busy_since is None, end)
    assert stage.run() == ids(*range(16))
    assert committed_meanwhile == []
    assert stage.step.batches == [ids(*range(first, first + 4)) for first in range(0, 16, 4)]


def test_where_a_commit_fails_the_judged_batch_and_those_that_wait_are_read_again():
    stage = Stage(log_of(range(16)))
    stage.transactions.failures.append(TransactionAborted("aborted"))
    commit = Overlap(stage)
    commit.once(lambda: len(stage.step.batches) == 2 and stage.vitals.worker_busy_since is None, commit.end)
    assert stage.run() == ids(*range(16))
    assert stage.step.batches[:3] == [ids(*range(4)), ids(*range(4, 8)), ids(*range(4))]


@pytest.mark.parametrize("failure", [None, TransactionAborted("aborted"), OutcomeUnknown("away")])
@pytest.mark.parametrize("chips", [4, 10], ids=["no batch in flight", "a batch in flight"])
@pytest.mark.parametrize("change", ["revoke", "lose"])
def test_a_rebalance_waits_for_the_commit_that_is_under_way(change, chips, failure):
    stage = Stage(log_of(range(chips), range(20, 30)))
    stage.transactions.failures.append(failure)
    commit = Overlap(stage)

    def leave() -> None:
        Timer(0.0, commit.end).start()  # the rebalance does not return before
        getattr(stage.consumer, change)({0})
        assert stage.loop._committing.under_way is None
        stage.consumer.between_polls.append(lambda: stage.consumer.assign({0}))

    commit.once(lambda: True, leave)
    committed = stage.run()
    assert [event_id for event_id in committed if event_id in ids(*range(10))] == ids(*range(chips))
    assert [event_id for event_id in committed if event_id not in ids(*range(10))] == ids(*range(20, 30))


def test_a_stage_told_to_stop_ends_the_commit_under_way_and_then_commits_the_batch_in_flight():
    stage = Stage(log_of(range(16)))
    commit = Overlap(stage)

    def stop() -> None:
        stage.stopping.set()
        Timer(0.0, commit.end).start()

    commit.once(lambda: len(stage.step.batches) == 2, stop)
    assert stage.run() == ids(*range(8))


def test_a_commit_that_hangs_is_no_progress_though_polling_goes_on():
    stage = Stage(log_of(range(8)))
    commit = Overlap(stage)
    progress = Mock(wraps=stage.vitals.progress)
    stage.vitals.progress = progress
    polls = count()
    commit.once(lambda: True, progress.reset_mock)

    def end() -> None:
        assert not progress.called
        commit.end()

    commit.once(lambda: next(polls) == 5, end)
    assert stage.run() == ids(*range(8))
    assert progress.called
