"""Whether this worker knows what the group's coordinator has given it, and what to do where it does not.

The coordinator tells a member its new partitions once, in the answer to a heartbeat. librdkafka 2.16 repeats a
heartbeat that was not answered in time as it was, instead of asking for the whole assignment as Java's client does. A
broker that stands still amid a rebalance for as long as one heartbeat's interval can so leave partitions with a member
that never hears of them, for good, or with one that should have let go of them, for `max.poll.interval.ms`.
"""

import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, MemberAssignment

from shared.stream.worker import Worker

CHECK_S = 5.0  # one small request
# So many checks in a row must find the same: a rebalance takes a few heartbeats, and a commit that waits for the broker
# some seconds, until the loop polls again and hears of it.
CHECKS = 3
CALL_TIMEOUT_S = 5.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Given:
    """What the coordinator has for one member."""

    current: frozenset[int]
    """The partitions that it takes the member to have."""
    target: frozenset[int]
    """Those that the member is to have in the end."""

    def untold(self, owned: Collection[int]) -> frozenset[int]:
        """The partitions that a member which owns these has not been told of: to take them, or to let go of them."""
        return (self.current - frozenset(owned)) | (frozenset(owned) - self.target)


class Membership:
    """Looks at the group from outside every few seconds. Used by the main thread; asks on a thread of its own.

    Args:
        ask: what the coordinator has for the member of that id, None where it knows none; raises `KafkaException`.
        member_id: the worker's own, None where it has none.
        known: told each time that the coordinator knows it.
        clock: monotonic time in seconds.
    """

    def __init__(
        self,
        ask: Callable[[str | None], Given | None],
        member_id: Callable[[], str | None],
        *,
        known: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._member_id = member_id
        self._known = known
        self._clock = clock
        self._worker = Worker("membership")
        self._asked: Future[Given | None] | None = None
        self._ask_at = clock() + CHECK_S
        self._untold = frozenset[int]()
        self._found = 0

    def is_out_of_touch(self, owned: Collection[int]) -> bool:
        """Whether the worker must join the group anew, to hear what it has. To be asked between polls, often.

        Raises what `ask` raises, but for `KafkaException`: the broker is away then.
        """
        if self._asked is None:
            if self._clock() >= self._ask_at:
                # Here, between polls: another thread gets no answer of the client while it waits for records.
                self._asked = self._worker.submit(partial(self._ask, self._member_id()))
            return False
        if not self._asked.done():
            return False
        untold = self._answer(self._asked, owned)
        self._asked, self._ask_at = None, self._clock() + CHECK_S
        self._found = self._found + 1 if untold and untold == self._untold else min(1, len(untold))
        self._untold = untold
        if self._found < CHECKS:
            return False
        log.warning("out_of_touch_with_group", partitions=sorted(untold), owned=sorted(owned))
        self._found, self._untold = 0, frozenset()
        return True

    def close(self) -> None:
        """Ask no more."""
        self._worker.close(0.0)

    def _answer(self, asked: "Future[Given | None]", owned: Collection[int]) -> frozenset[int]:
        try:
            given = asked.result()
        except KafkaException:  # the broker is away: there is nothing to compare with
            return frozenset()
        if given is None:
            return frozenset()
        self._known()
        return given.untold(owned)


class Coordinator:
    """Asks the coordinator of a consumer group.

    Args:
        new_admin: makes the client to ask with.
        group: the group.
        topic: the stage's input topic, as Kafka names it.
    """

    def __init__(self, new_admin: Callable[[], AdminClient], *, group: str, topic: str) -> None:
        self._new_admin = new_admin
        self._group = group
        self._topic = topic
        self._admin: AdminClient | None = None

    def given(self, member_id: str | None) -> Given | None:
        """What it has for the member, None where it does not know it. Raises `KafkaException`."""
        if self._admin is None:
            self._admin = self._new_admin()
        try:
            asked = self._admin.describe_consumer_groups([self._group], request_timeout=CALL_TIMEOUT_S)
            group = asked[self._group].result()
        except KafkaException:
            self._admin = None  # after a broker's restart, a client may go on with what it knew before
            raise
        for member in group.members:
            if member.member_id == member_id and member.target_assignment is not None:
                return Given(self._partitions(member.assignment), self._partitions(member.target_assignment))
        return None

    def _partitions(self, assignment: MemberAssignment) -> frozenset[int]:
        return frozenset(place.partition for place in assignment.topic_partitions if place.topic == self._topic)
