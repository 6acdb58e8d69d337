"""Each chip once: what a stage has dealt with lately, so that a chip which is sent twice is not judged twice.

Kafka delivers each record once; this is about two records of one chip: an HTTP client that repeated its request, a
camera's folder that was read again after a crash. A stage writes down the chips of each transaction in that very
transaction, and reads the latest of them back before it begins with a partition.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Collection, Iterable
from datetime import datetime

from shared.events import ChipsSettled, SettledChip
from shared.identity import Identity

DIGEST_BYTES = 16  # two of 2^30 chips share one with a probability of 2^-69


class SettledChips:
    """The chips that one stage has dealt with, by partition of its input topic. Used by one thread.

    Args:
        stage: the stage's name.
        limit: how many are remembered a partition, the latest; some 200 bytes each.
    """

    def __init__(self, stage: str, limit: int) -> None:
        self._stage = stage
        self._limit = limit
        self._uninspected: dict[int, OrderedDict[bytes, bool]] = {}  # by partition and chip, oldest first
        self._new: dict[int, list[SettledChip]] = {}  # by partition; not written down yet

    def takes(self, partition: int, identity: Identity, *, replayed: bool) -> bool:
        """Whether a chip is to be dealt with.

        One that is sent back from the dead letters is, as long as it has no verdict but UNINSPECTED.
        """
        chips = self._uninspected.get(partition)
        if chips is None:
            return True
        uninspected = chips.get(digest_of(identity), chips.get(_digest_without_line(identity)))
        return uninspected is None or (replayed and uninspected)

    def enter(self, partition: int, identity: Identity, *, uninspected: bool) -> None:
        """Note that a chip was dealt with; whether by saying UNINSPECTED."""
        digest = digest_of(identity)
        self._remember(partition, digest, uninspected=uninspected)
        self._new.setdefault(partition, []).append(SettledChip(digest=digest, uninspected=uninspected))

    def to_keep(self, now: datetime) -> dict[int, list[ChipsSettled]]:
        """What was entered since this was asked last, by partition."""
        new, self._new = self._new, {}
        return {
            partition: [ChipsSettled(stage=self._stage, chips=tuple(chips), settled_at=now)]
            for partition, chips in new.items()
        }

    def recall(self, partition: int, kept: Iterable[ChipsSettled]) -> None:
        """Begin with a partition; `kept` is what this stage wrote down, oldest first."""
        for event in kept:
            for chip in event.chips:
                self._remember(partition, chip.digest, uninspected=chip.uninspected)

    def forget(self, partitions: Collection[int]) -> None:
        """Drop what is known of partitions."""
        for partition in partitions:
            self._uninspected.pop(partition, None)
            self._new.pop(partition, None)

    def _remember(self, partition: int, digest: bytes, *, uninspected: bool) -> None:
        chips = self._uninspected.setdefault(partition, OrderedDict())
        chips[digest] = uninspected
        chips.move_to_end(digest)
        if len(chips) > self._limit:
            chips.popitem(last=False)


def digest_of(identity: Identity) -> bytes:
    """What stands for a chip in `ChipsSettled`.

    Not for its event's id alone: where senders give two chips the same one, each still gets its verdict.
    """
    return _digest(identity.line_id, identity.event_id, identity.chip_id)


def _digest_without_line(identity: Identity) -> bytes:
    """What stood for it at first, and is among what is kept for a day after an upgrade from such a version."""
    return _digest(identity.event_id, identity.chip_id)


def _digest(*ids: str) -> bytes:
    text = "\0".join(ids)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).digest()
