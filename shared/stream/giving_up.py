"""What follows from a record whose chip a stage cannot judge: the chip as UNINSPECTED, and a dead letter.

Whatever the record is, something follows that fits its topics: no record may end a stage, since it would end the next
worker as well.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import structlog

from shared.errors import NotReady, Uninspectable
from shared.events import Event, Uninspected
from shared.identity import Identity
from shared.stream.dead_letter import Extent, dead_letter
from shared.stream.encoding import Encoder
from shared.stream.errors import InternalError, OutputTooLarge
from shared.stream.record import Output, Received
from shared.stream.settled import Settled, verdict_of
from shared.stream.step import Step
from shared.wire.errors import UnwritableEvent

DETAIL_CHARACTERS = 500  # one sentence for people; an exception may carry a whole document

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A chip that this stage cannot judge."""

    identity: Identity
    """Short enough to be carried on."""
    event: Any
    """None where there is none that can be relied on."""
    cause: Uninspected
    error: str | None
    """Type of the error; None where there was none and the chip is only late."""
    extent: Extent = Extent.WHOLE
    """How much of the record its dead letter may hold."""


def because_of(error: Exception, identity: Identity, event: Any, *, stage: str, extent: Extent) -> GivenUp:
    """A chip that cannot be judged because of an error."""
    reason = error.reason if isinstance(error, Uninspectable) else InternalError.reason
    detail = str(error) or type(error).__name__
    if len(detail) > DETAIL_CHARACTERS:
        detail = detail[: DETAIL_CHARACTERS - 1] + "…"
    # It may quote what is no Unicode, as a file's name can be, and must be written all the same.
    detail = detail.encode("utf-8", "replace").decode()
    cause = Uninspected(reason=reason, detail=detail, stage=stage)
    return GivenUp(identity, event, cause, type(error.__cause__ or error).__name__, extent)


class GivingUp:
    """Settles records whose chips are given up.

    Args:
        step: says that a chip could not be judged.
        encoder: makes the records.
        clock: the time (UTC).
    """

    def __init__(self, step: Step[Any], encoder: Encoder, clock: Callable[[], datetime]) -> None:
        self._step = step
        self._encoder = encoder
        self._clock = clock

    def settle(self, received: Received, chip: GivenUp) -> Settled:
        """The record's outcome."""
        try:
            events, outputs = self._uninspected(received, chip)
        except NotReady:
            raise
        except Exception:  # what the event holds does not fit either, or the step stumbles over it here too
            # What is said of the chip without it is short.
            log.exception("event_left_out", source=str(received.source))
            events, outputs = self._uninspected(received, replace(chip, event=None))
        if chip.error is not None:
            outputs += self._dead_letter(received, chip, chip.error)
        return Settled(received, chip.identity, outputs, verdict_of(events), chip.cause, chip.error is not None)

    def _uninspected(self, received: Received, chip: GivenUp) -> tuple[Sequence[Event], tuple[Output, ...]]:
        events = self._step.uninspected(chip.identity, received.source, chip.cause, chip.event)
        return events, self._encoder.following(received, chip.identity, events)

    def _dead_letter(self, received: Received, chip: GivenUp, error: str) -> tuple[Output, ...]:
        """As much of the record as fits."""
        extents = list(Extent)
        for extent in extents[extents.index(chip.extent) :]:
            letter = dead_letter(received, chip.identity, chip.cause, error=error, now=self._clock(), extent=extent)
            try:
                return self._encoder.following(received, chip.identity, [letter])
            except (OutputTooLarge, UnwritableEvent):
                if extent is extents[-1]:
                    raise
        raise AssertionError("there is a last extent")
