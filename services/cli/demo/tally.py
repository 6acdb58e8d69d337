"""What came of the chips that were sent: the demo's figures, from the facts alone."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from shared.events import Verdict


@dataclass(frozen=True, slots=True)
class SentChip:
    """A chip that Kafka acknowledged, and the truth about it."""

    event_id: str
    is_defective: bool
    captured_at: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class SeenVerdict:
    """A committed verdict, as a consumer outside sees it."""

    event_id: str
    verdict: Verdict
    readable_at: float
    """When it could be read, seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Tally:
    """The line's account. `lost` and `duplicated` must be 0."""

    sent: int
    verdicts: int
    lost: int
    """Chips without a verdict."""
    duplicated: int
    """Verdicts beyond a chip's first, and verdicts on chips that were never sent."""
    rejected: int
    uninspected: int
    escapes: int
    """Defective chips that passed."""
    false_rejects: int
    """Good chips that were rejected; those that could not be inspected are not among them."""
    p50_ms: float | None
    """Captured to verdict readable, median; None without a verdict."""
    p99_ms: float | None

    @property
    def is_exact(self) -> bool:
        """Whether every chip has exactly one verdict."""
        return self.lost == 0 and self.duplicated == 0


def tally(sent: Mapping[str, SentChip], verdicts: Iterable[SeenVerdict]) -> Tally:
    """Hold the verdicts against the chips that were sent, by event id."""
    seen = list(verdicts)
    first: dict[str, SeenVerdict] = {}
    for verdict in seen:
        first.setdefault(verdict.event_id, verdict)
    judged = {event_id: verdict for event_id, verdict in first.items() if event_id in sent}
    decided = Counter(verdict.verdict for verdict in judged.values())
    wrong = Counter((sent[event_id].is_defective, verdict.verdict) for event_id, verdict in judged.items())
    latencies = [(verdict.readable_at - sent[event_id].captured_at) * 1000 for event_id, verdict in judged.items()]
    p50, p99 = (round(float(value), 1) for value in np.percentile(latencies, (50, 99))) if latencies else (None, None)
    return Tally(
        sent=len(sent),
        verdicts=len(seen),
        lost=len(sent) - len(judged),
        duplicated=len(seen) - len(judged),
        rejected=decided[Verdict.REJECT],
        uninspected=decided[Verdict.UNINSPECTED],
        escapes=wrong[True, Verdict.PASS],
        false_rejects=wrong[False, Verdict.REJECT],
        p50_ms=p50,
        p99_ms=p99,
    )
