"""Which of a line's verdicts are meant."""

import hashlib
import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from services.cli.archive import Archive
from services.cli.reading import read
from services.cli.verdicts import Chip
from shared.errors import Uninspectable
from shared.events import ChipInspected, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a verdict must be like."""

    verdicts: frozenset[Verdict]
    since: datetime
    until: datetime | None = None
    product: str | None = None
    line: str | None = None

    def takes(self, verdict: ChipInspected) -> bool:
        """Whether a verdict is meant."""
        return (
            verdict.verdict in self.verdicts
            and verdict.inspected_at >= self.since
            and (self.until is None or verdict.inspected_at < self.until)
            and self.product in (None, verdict.product)
            and self.line in (None, verdict.line_id)
        )


def said(archive: Archive, since: datetime) -> Iterable[ChipInspected]:
    """All verdicts since then, each line's in order; raises as `services.cli.reading.read` does."""
    topic = archive.topics.topic_of(ChipInspected)
    for message in read(
        archive.consumer, archive.settings.kafka, topic, from_beginning=False, follow=False, since=since
    ):
        try:
            yield archive.codec.decode(message.value(), ChipInspected)
        except Uninspectable:  # no verdict: somebody else's record
            continue


def chosen(verdicts: Iterable[ChipInspected], wanted: Wanted, at_most: int | None) -> list[ChipInspected]:
    """The last verdict of each chip where that is meant; by chance `at_most` of them, always the same of the same."""
    found: dict[Chip, ChipInspected] = {}
    for verdict in verdicts:
        found.pop(chip := Chip.of(verdict), None)  # one that was sent back is judged anew
        if wanted.takes(verdict):
            found[chip] = verdict
    if at_most is None:
        return list(found.values())
    return heapq.nsmallest(at_most, found.values(), key=lot)


def lot(verdict: ChipInspected) -> bytes:
    """What a verdict draws in the lottery, by its chip alone; no two draw the same."""
    drawn_by = (verdict.verdict, verdict.line_id, verdict.event_id, verdict.chip_id)
    return hashlib.sha256("\0".join(drawn_by).encode()).digest()
