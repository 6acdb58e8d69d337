"""The chips of a run: which line, which picture, what is wrong with them. The same for the same seed."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import numpy as np

from shared.events import ImageCaptured, UninspectedReason

PRODUCT = "soic-8"
LINES = 24  # enough that each of the six partitions carries some
SKEW_HOURS = 36  # a camera whose clock was never set, or stands in another zone; both ways


class Kind(StrEnum):
    """What becomes of a chip, as far as it does not depend on its picture."""

    GOOD = "good"
    DEFECTIVE = "defective"
    NO_PICTURE = "no picture"
    TRUNCATED = "truncated"
    UNKNOWN_PRODUCT = "unknown product"
    MIXED_UP = "another picture than was captured"
    NO_EVENT = "no event"
    LATE = "late"


POISON = {
    Kind.NO_PICTURE: UninspectedReason.UNDECODABLE_IMAGE,
    Kind.TRUNCATED: UninspectedReason.UNDECODABLE_IMAGE,
    Kind.UNKNOWN_PRODUCT: UninspectedReason.UNKNOWN_PRODUCT,
    Kind.MIXED_UP: UninspectedReason.IMAGE_UNAVAILABLE,
    Kind.NO_EVENT: UninspectedReason.MALFORMED_RECORD,
}
"""Chips that must be uninspected and dead-lettered, with the reason."""

# A chip begins a run of poison with this chance; a run is 1 to 3 chips long, two on average: 2 % of all.
POISON_CHANCE = 0.01
LONGEST_POISON = 3
# The same for runs of mostly defective chips, 6 to 14 long: what the router's burst rule looks for.
BAD_RUN_CHANCE = 0.008
BAD_RUN = (6, 15)
DEFECTIVE_SHARE = (0.05, 0.7)  # outside and inside of such a run
LATE_CHANCE = 0.005
# A chip is sent once more with this chance, as by a client that never got its answer: so many records later at most.
REPEAT_CHANCE = 0.02
REPEATED_WITHIN = 40


@dataclass(frozen=True, slots=True)
class Chip:
    """A chip to be sent, and the truth about it."""

    kind: Kind
    event: ImageCaptured

    @property
    def event_id(self) -> str:
        """Id of its event, ascending in the order of sending."""
        return self.event.event_id

    @property
    def is_poison(self) -> bool:
        """Whether it must end among the dead letters."""
        return self.kind in POISON


def chips(seed: int, count: int, good: Sequence[bytes], defective: Sequence[bytes]) -> list[Chip]:
    """The chips of a run, in the order they are sent; the lines take turns at random.

    `good` and `defective` are encoded pictures.
    """
    dice = np.random.default_rng([seed, 1])
    kinds = [_kinds(np.random.default_rng([seed, 2, line])) for line in range(LINES)]
    now = datetime.now(UTC).replace(microsecond=0)
    made = []
    for number in range(count):
        line = int(dice.integers(LINES))
        kind = next(kinds[line])
        pictures = defective if kind is Kind.DEFECTIVE else good
        picture = pictures[int(dice.integers(len(pictures)))]
        skew = timedelta(hours=float(dice.uniform(-SKEW_HOURS, SKEW_HOURS))) if dice.random() < 0.2 else timedelta()
        deadline = {Kind.LATE: -timedelta(minutes=1)}.get(kind, timedelta(days=2) if dice.random() < 0.5 else None)
        event = ImageCaptured(
            event_id=f"{seed}-{number:06}",
            chip_id=f"chip-{number:06}",
            line_id=f"line-{line:02}",
            product="never-trained" if kind is Kind.UNKNOWN_PRODUCT else PRODUCT,
            captured_at=now + skew,
            verdict_by=None if deadline is None else now + deadline,
            sha256=hashlib.sha256(b"another" if kind is Kind.MIXED_UP else _spoilt(picture, kind)).hexdigest(),
            image_bytes=_spoilt(picture, kind),
        )
        made.append(Chip(kind, event))
    return made


def with_repeats(seed: int, once: Sequence[Chip]) -> list[Chip]:
    """What is sent: every chip in its order, and some of them a second time, a little later."""
    dice = np.random.default_rng([seed, 3])
    due: dict[int, list[Chip]] = {}
    sent = []
    for number, chip in enumerate(once):
        sent += [chip, *due.pop(number, ())]
        if dice.random() < REPEAT_CHANCE:
            due.setdefault(number + int(dice.integers(1, REPEATED_WITHIN + 1)), []).append(chip)
    return sent + [chip for late in due.values() for chip in late]


def _spoilt(picture: bytes, kind: Kind) -> bytes:
    if kind is Kind.NO_PICTURE:
        return b"This is not a picture.\n" * 20
    if kind is Kind.TRUNCATED:
        return picture[: len(picture) // 2]
    return picture


def _kinds(dice: np.random.Generator) -> Iterator[Kind]:
    """What comes along one line."""
    poisons = list(POISON)
    bad_left = 0
    while True:
        if dice.random() < POISON_CHANCE:
            for _ in range(int(dice.integers(1, LONGEST_POISON + 1))):
                yield poisons[int(dice.integers(len(poisons)))]
        if bad_left == 0 and dice.random() < BAD_RUN_CHANCE:
            bad_left = int(dice.integers(*BAD_RUN))
        share = DEFECTIVE_SHARE[bad_left > 0]
        bad_left = max(0, bad_left - 1)
        if dice.random() < LATE_CHANCE:
            yield Kind.LATE
        yield Kind.DEFECTIVE if dice.random() < share else Kind.GOOD
