"""Where failed records go, and when there are too many of them."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from shared.events import DeadLetter, Header, Uninspected
from shared.identity import Identity
from shared.settings import StreamSettings
from shared.stream.errors import TooManyDeadLetters
from shared.stream.record import Received

KEY_BYTES = 500  # of a key that is cut, as many as an id has characters


class Extent(Enum):
    """How much of a record its dead letter holds: the rest can be read at its place while its topic keeps it."""

    WHOLE = ""
    WITHOUT_VALUE = " [value left out: it does not fit the dead letters' topic]"
    PLACE_ALONE = " [value and headers left out, key cut: they do not fit the dead letters' topic]"

    @property
    def remark(self) -> str:
        """What the dead letter says of it."""
        return self.value


def dead_letter(
    record: Received,
    identity: Identity,
    cause: Uninspected,
    *,
    error: str,
    now: datetime,
    extent: Extent,
) -> DeadLetter:
    """The record, with where and why it failed."""
    source = record.source
    headers = () if extent is Extent.PLACE_ALONE else record.headers
    return DeadLetter(
        dead_letter_id=f"{cause.stage}:{source}",
        stage=cause.stage,
        topic=source.topic,
        partition=source.partition,
        offset=source.offset,
        key=record.key[:KEY_BYTES] if record.key and extent is Extent.PLACE_ALONE else record.key,
        value=record.value if extent is Extent.WHOLE else None,
        headers=tuple(Header(name=name, value=value) for name, value in headers),
        reason=cause.reason,
        error=error,
        detail=cause.detail + extent.remark,
        event_id=identity.event_id,
        chip_id=identity.chip_id,
        line_id=identity.line_id,
        product=identity.product,
        failed_at=now,
    )


@dataclass(frozen=True, slots=True)
class DeadLetterTally:
    """How many of the latest records failed. Immutable, so that a batch which is not committed does not count."""

    streak: int = 0
    streak_cause: str = ""
    """What failed first in the streak."""
    window: deque[str | None] = field(default_factory=deque)
    """What failed, record by record; None where it went well."""

    def after(self, failures: Iterable[str | None], limits: StreamSettings) -> "DeadLetterTally":
        """The tally after these records in order: for each what failed, or None where it went well.

        The share of failures is taken once the window is full, so that the first record's failure is not all of it.
        Raises `TooManyDeadLetters`.
        """
        streak, streak_cause = self.streak, self.streak_cause
        window = deque(self.window, maxlen=limits.dead_letter_window)
        for failure in failures:
            window.append(failure)
            if failure is None:
                streak = 0
                continue
            streak_cause = streak_cause if streak else failure
            streak += 1
            if streak >= limits.dead_letter_streak:
                raise TooManyDeadLetters(
                    f"{streak} records in a row failed, the limit (CHIPSIEVE_STREAM__DEAD_LETTER_STREAK) is "
                    f"{limits.dead_letter_streak}; {_advice(streak_cause)}"
                )
            failed = [cause for cause in window if cause is not None]
            if len(window) == window.maxlen and len(failed) > limits.dead_letter_ratio * len(window):
                raise TooManyDeadLetters(
                    f"{len(failed)} of the last {len(window)} records failed, the limit "
                    f"(CHIPSIEVE_STREAM__DEAD_LETTER_RATIO) is {limits.dead_letter_ratio:g}; {_advice(failed[0])}"
                )
        return DeadLetterTally(streak, streak_cause, window)


def _advice(first_cause: str) -> str:
    return (
        f"the first because: {first_cause}. The batch that went over was not committed; "
        "repair the cause and start the stage again"
    )
