"""Deadlines shed load: a chip whose verdict would come too late gets no work, so that the next ones are on time."""

from datetime import datetime

from shared.events import Uninspected, UninspectedReason
from shared.identity import Identity


def overdue(identity: Identity, now: datetime, stage: str) -> Uninspected | None:
    """Why no work should go into a chip any more, or None while there is time."""
    if identity.verdict_by is None or not identity.is_late(now):
        return None
    late_s = (now - identity.verdict_by).total_seconds()
    return Uninspected(
        reason=UninspectedReason.TOO_LATE,
        detail=f"its verdict was due {late_s:.3f} s ago, at {identity.verdict_by.isoformat()}; the line had to decide",
        stage=stage,
    )
