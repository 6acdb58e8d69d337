"""Deadlines shed load: a chip whose verdict would come too late gets no work, so that the next ones are on time."""

import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from shared.events import Uninspected, UninspectedReason
from shared.identity import Identity

NOTHING = timedelta()
SMOOTHING = 0.3  # weight of the latest batch; after four, three quarters of the estimate are new


def begin_by(identity: Identity, needed: timedelta) -> datetime | None:
    """Until when a stage may begin with a chip, where it needs so long for it; None where there is no deadline.

    At most half of the time that the chip has from its capture to its deadline is set aside for the work. So a
    stage that has become slow never sheds every chip; if it did, it would never learn that it is quick again.
    """
    if identity.verdict_by is None:
        return None
    half = max(NOTHING, (identity.verdict_by - identity.captured_at) / 2)
    return identity.verdict_by - min(needed, half)


def overdue(identity: Identity, now: datetime, stage: str, needed: timedelta = NOTHING) -> Uninspected | None:
    """Why no work should go into a chip any more, or None while there is time."""
    latest = begin_by(identity, needed)
    if identity.verdict_by is None or latest is None or now <= latest:
        return None
    remaining_s = (identity.verdict_by - now).total_seconds()
    detail = (
        f"its verdict was due {-remaining_s:.3f} s ago, at {identity.verdict_by.isoformat()}; the line had to decide"
        if remaining_s < 0
        else f"its verdict is due in {remaining_s:.3f} s, at {identity.verdict_by.isoformat()}; it would take longer"
    )
    return Uninspected(reason=UninspectedReason.TOO_LATE, detail=detail, stage=stage)


def shortest_allowance_s(chips: Iterable[Identity]) -> float:
    """The least time that a chip has from its capture to its deadline, seconds; infinite where none has a deadline."""
    return min(
        (max(NOTHING, chip.verdict_by - chip.captured_at).total_seconds() for chip in chips if chip.verdict_by),
        default=math.inf,
    )


class Pace:
    """How long a chip needs from here to its verdict, learned from the batches so far.

    Args:
        later_stages: what the stages after this one usually need; none where it is the last one that works on chips.
    """

    def __init__(self, later_stages: timedelta) -> None:
        self._later_stages = later_stages
        self._batch_s = 0.0

    @property
    def needed(self) -> timedelta:
        """The estimate: what slows this stage down, like a busy machine, slows the later ones down too."""
        batch = timedelta(seconds=self._batch_s)
        return batch + max(self._later_stages, batch) if self._later_stages else batch

    def is_late(self, chip: Identity) -> bool:
        """Whether work on it that begins now would come too late."""
        latest = begin_by(chip, self.needed)
        return latest is not None and latest < datetime.now(UTC)

    def note(self, batch_s: float) -> None:
        """A batch with work in it took so long."""
        self._batch_s += SMOOTHING * (batch_s - self._batch_s)
