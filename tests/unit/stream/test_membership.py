"""Out of touch with the group: found where it lasts, and only there."""

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from shared.stream.membership import CHECK_S, CHECKS, Coordinator, Given, Membership


class Group:
    """What the coordinator answers, and the time."""

    def __init__(self) -> None:
        self.given: Given | None = None
        self.fails = False
        self.now = 0.0
        self.asked = 0
        self.knows_us = 0
        self.membership = Membership(self._ask, lambda: "ours", known=self._note, clock=lambda: self.now)
        # At once, in this thread.
        self.membership._worker = self

    def submit(self, ask) -> Future:
        future: Future = Future()
        try:
            future.set_result(ask())
        except KafkaException as error:
            future.set_exception(error)
        return future

    def _note(self) -> None:
        self.knows_us += 1

    def _ask(self, member_id: str | None) -> Given | None:
        assert member_id == "ours"
        self.asked += 1
        if self.fails:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return self.given

    def check(self, owned: set[int]) -> bool:
        self.now += CHECK_S
        self.membership.is_out_of_touch(owned)
        return self.membership.is_out_of_touch(owned)


@pytest.fixture
def group() -> Group:
    return Group()


def given(current: set[int], target: set[int]) -> Given:
    return Given(frozenset(current), frozenset(target))


@pytest.mark.parametrize(
    ("current", "target", "owned", "untold"),
    [
        ({0, 1}, {0, 1}, {0, 1}, set()),
        ({0, 1, 2}, {0, 1, 2}, {0, 1}, {2}),  # given, never heard of
        ({0, 1, 2}, {0, 1}, {0, 1, 2}, {2}),  # to be let go of, never heard of
        ({0, 1}, {0, 1, 2}, {0, 1}, set()),  # another has it yet
        (set(), {0, 1}, set(), set()),
    ],
)
def test_a_worker_is_untold_of_what_it_was_given_and_of_what_it_is_to_let_go_of(current, target, owned, untold):
    assert given(current, target).untold(owned) == untold


def test_what_lasts_is_found_and_then_waited_for_anew(group: Group):
    group.given = given({0, 1, 2}, {0})
    assert [group.check({0, 1, 2}) for _ in range(2 * CHECKS)] == [False, False, True] * 2


def test_a_rebalance_that_goes_on_is_no_finding(group: Group):
    owned = {0, 1, 2, 3}
    for target in ({0, 1, 2}, {0, 1}, {0}, {0, 1}, {0}):
        group.given = given(owned, target)
        assert not group.check(owned)


def test_a_broker_that_does_not_answer_and_a_member_it_does_not_know_are_no_findings(group: Group):
    group.given = given({0, 1}, {0})
    assert not group.check({0, 1})
    assert not group.check({0, 1})
    group.fails = True
    assert not group.check({0, 1})
    group.fails, group.given = False, None
    assert not group.check({0, 1})
    group.given = given({0, 1}, {0})
    assert not group.check({0, 1})


def test_the_coordinator_is_asked_every_few_seconds_and_no_more_often(group: Group):
    for _ in range(50):
        group.now += CHECK_S / 10
        group.membership.is_out_of_touch({0})
    assert group.asked <= 6


def test_a_member_that_the_coordinator_knows_is_told_so_also_where_it_has_no_partitions(group: Group):
    group.check(set())
    group.fails = True
    group.check(set())
    assert group.knows_us == 0
    group.fails, group.given = False, given(set(), set())
    assert not group.check(set())
    assert group.knows_us == 1


def test_an_answer_that_takes_long_is_no_finding(group: Group):
    answer: Future = Future()
    group.submit = lambda _: answer
    assert [group.check({0, 1, 2}) for _ in range(2 * CHECKS)] == [False] * 2 * CHECKS
    answer.set_result(given({0, 1, 2}, {0}))
    assert not group.membership.is_out_of_touch({0, 1, 2})


class Cluster:
    """Describes the group `g`, in which `me` reads `images`."""

    def __init__(self) -> None:
        self.clients = 0
        self.fails = False
        self.members = [
            SimpleNamespace(member_id="another", assignment=assigned(4), target_assignment=assigned(4, 5)),
            SimpleNamespace(member_id="me", assignment=assigned(0, 1), target_assignment=assigned(0)),
        ]
        self.coordinator = Coordinator(self._new_admin, group="g", topic="images")

    def _new_admin(self) -> Any:
        self.clients += 1
        return self

    def describe_consumer_groups(self, names: list[str], **_options: object) -> dict[str, Future]:
        described: Future = Future()
        if self.fails:
            described.set_exception(KafkaException(KafkaError(KafkaError._TIMED_OUT)))
        else:
            described.set_result(SimpleNamespace(members=self.members))
        return {"g": described} if names == ["g"] else {}


def assigned(*partitions: int) -> SimpleNamespace:
    elsewhere = TopicPartition("another", 9)
    return SimpleNamespace(topic_partitions=[elsewhere, *(TopicPartition("images", each) for each in partitions)])


def test_the_coordinator_tells_what_the_worker_itself_has_of_its_topic():
    cluster = Cluster()
    assert cluster.coordinator.given("me") == given({0, 1}, {0})
    cluster.members[1].target_assignment = None  # a broker that tells of no targets
    assert cluster.coordinator.given("me") is None
    del cluster.members[1]
    assert cluster.coordinator.given("me") is None
    assert cluster.clients == 1


def test_a_client_whose_broker_did_not_answer_is_not_asked_again():
    cluster = Cluster()
    cluster.fails = True
    with pytest.raises(KafkaException):
        cluster.coordinator.given("me")
    cluster.fails = False
    assert cluster.coordinator.given("me") == given({0, 1}, {0})
    assert cluster.clients == 2
