"""What became of a batch, record by record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shared.events import Event, Uninspected, Verdict
from shared.identity import Identity
from shared.stream.record import Output, Received


@dataclass(frozen=True, slots=True)
class Settled:
    """A record whose outcome is known, ready to be committed."""

    received: Received
    identity: Identity
    outputs: tuple[Output, ...]
    verdict: str
    """PASS, REJECT or UNINSPECTED where an event says so, else FORWARDED, or REPEATED where the record was dropped."""
    given_up: Uninspected | None = None
    """Why this stage could not judge the chip."""
    dead_letter: bool = False
    """Whether the record failed, as against having come too late."""
    repeated: bool = False
    """Whether it was dropped, because its chip had been dealt with."""

    @property
    def failure(self) -> str | None:
        """What failed, where something did and the record is a dead letter."""
        if self.given_up is None or not self.dead_letter:
            return None
        return f"{self.given_up.reason}: {self.given_up.detail} ({self.received.source})"

    @property
    def says_nothing(self) -> bool:
        """Whether no work went into it: that it came too late or a second time says nothing about the stage."""
        return self.repeated or (self.given_up is not None and not self.dead_letter)

    @property
    def uninspected(self) -> bool:
        """Whether this stage or one before it could not judge the chip."""
        return self.given_up is not None or self.verdict == Verdict.UNINSPECTED


@dataclass(frozen=True, slots=True)
class Judgement:
    """What became of a batch."""

    settled: tuple[Settled, ...] = ()
    """In the order of the batch."""
    remaining: tuple[Received, ...] = ()
    """Records that nothing can be said about yet; they come again."""
    waiting_for: Mapping[int, str] = field(default_factory=dict)
    """Partition → why nothing can be said about the first of these in it now. Those of other partitions only had to
    wait until the ones before them are settled."""
    due: tuple[Output, ...] = ()
    """What the clock alone made due."""
    kept: tuple[Output, ...] = ()
    """What the stage must know of its partitions, with all of this done."""


def verdict_of(events: Sequence[Event]) -> str:
    """The verdict of a record that led to these events."""
    said = (getattr(event, "verdict", None) for event in events)
    return next((str(verdict) for verdict in said if verdict is not None), "FORWARDED")
