"""What a change of partitions does. Called by the consumer on the main thread, from within `consume` and `close`."""

from collections.abc import Callable, Collection

from confluent_kafka import Consumer, TopicPartition

from shared.stream import report
from shared.stream.in_hand import InHand
from shared.stream.vitals import Vitals
from shared.stream.worker import Failure


class Rebalances:
    """The callbacks of a consumer that subscribes.

    Args:
        in_hand: what the worker has of its partitions.
        finish: commits what is in flight of partitions that are ours still.
        give_up: lets go of what is in flight of partitions that are another's already.
        failure: what these fail with; it must not cross the client's C code.
        vitals: told which partitions there are.
        stage: its name.
    """

    def __init__(
        self,
        in_hand: InHand,
        *,
        finish: Callable[[Collection[int]], None],
        give_up: Callable[[Collection[int]], None],
        failure: Failure,
        vitals: Vitals,
        stage: str,
    ) -> None:
        self._in_hand = in_hand
        self._finish = finish
        self._give_up = give_up
        self._failure = failure
        self._vitals = vitals
        self._stage = stage

    def on_assign(self, _consumer: Consumer, assigned: list[TopicPartition]) -> None:
        """These partitions are ours from now on."""
        partitions = [partition.partition for partition in assigned]
        self._in_hand.gain(partitions)
        self._note("assigned", partitions)

    def on_revoke(self, _consumer: Consumer, revoked: list[TopicPartition]) -> None:
        """Commit what is in flight for these partitions while they are still ours, and forget the rest of them."""
        self._let_go("revoked", self._finish, {partition.partition for partition in revoked})

    def on_lost(self, _consumer: Consumer, lost: list[TopicPartition]) -> None:
        """These partitions are another's already: commit nothing of them."""
        self._let_go("lost", self._give_up, {partition.partition for partition in lost})

    def _let_go(self, change: str, first: Callable[[Collection[int]], None], partitions: set[int]) -> None:
        try:
            first(partitions)
        except Exception as error:  # must not cross the client's C code; the loop raises it after the poll
            self._failure.keep(error)
        self._in_hand.lose(partitions)
        self._note(change, partitions)

    def _note(self, change: str, partitions: Collection[int]) -> None:
        owned = self._in_hand.partitions.owned
        self._vitals.beginning = self._in_hand.beginnings.awaited  # first: with them it is not ready yet
        self._vitals.partitions = frozenset(owned)
        if owned:
            self._vitals.group_up = True
            self._vitals.subscribed()
        report.rebalanced(self._stage, change, partitions, owned)
