"""The lines of one input partition, with a way back: a batch that is not committed is judged again."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.router.rules import LineState, RoutedChip, Rules, observe, observe_silence
from shared.events import AlertRaised

# The runtime has at most three batches that are judged and not committed; 4,096 records are three of 1,365.
WAY_BACK = 4096


@dataclass(frozen=True, slots=True)
class _Change:
    offset: int
    line_id: str
    before: LineState | None


class PartitionLines:
    """States of the lines whose inspections lie in one partition.

    Args:
        rules: the rules in force.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._states: dict[str, LineState] = {}
        self._changes: deque[_Change] = deque(maxlen=WAY_BACK)
        self._offsets: set[int] = set()

    def observe(self, offset: int, line_id: str, chip: RoutedChip) -> Sequence[AlertRaised]:
        """The alerts a chip sets off. An offset that was seen before takes everything since then back first."""
        if offset in self._offsets:
            self._go_back_before(offset)
        before = self._states.get(line_id)
        self._states[line_id], alerts = observe(before, line_id, chip, self._rules)
        if len(self._changes) == WAY_BACK:
            self._offsets.discard(self._changes[0].offset)
        self._changes.append(_Change(offset, line_id, before))
        self._offsets.add(offset)
        return alerts

    def observe_silences(self, now: datetime) -> Sequence[AlertRaised]:
        """The alerts for lines that have been silent for too long."""
        raised: list[AlertRaised] = []
        for line_id, before in list(self._states.items()):
            self._states[line_id], alerts = observe_silence(before, line_id, now, self._rules)
            raised += alerts
        return raised

    def _go_back_before(self, offset: int) -> None:
        while offset in self._offsets:
            change = self._changes.pop()
            self._offsets.discard(change.offset)
            if change.before is None:
                del self._states[change.line_id]
            else:
                self._states[change.line_id] = change.before
