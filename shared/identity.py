"""Who a record is about, in the payload and again in the headers.

Identity travels in the headers too, so that a payload which cannot be decoded still belongs to a chip.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.events import ChipInspected, ChipRejected, FeaturesExtracted, ImageCaptured

ChipEvent = ImageCaptured | FeaturesExtracted | ChipInspected | ChipRejected
Headers = list[tuple[str, bytes]]

UNKNOWN = "unknown"
REPLAY_OF = "replay_of"
"""Header of a record that was sent back from the dead letters, and of what follows from it: the dead letter's id."""
VERDICT = "verdict"
"""Header of a record that decides about its chip, as the payload says it: a gate needs no Avro to open for one."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Ids stand in the payload and in the headers, in up to four bytes a character: all of them together stay far below the
# 64 KiB that schemas/topics.yaml allows a record beside its payload.
MAX_ID_LENGTH = 500
DIGEST_BYTES = 16  # of an id that is cut: two of 2^30 that begin alike come out alike with a probability of 2^-69
IDS = ("event_id", "chip_id", "line_id", "product")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The six fields every event about a chip begins with."""

    event_id: str
    chip_id: str
    line_id: str
    product: str
    captured_at: datetime
    verdict_by: datetime | None = None

    def is_late(self, now: datetime) -> bool:
        """Whether the chip's deadline has passed."""
        return self.verdict_by is not None and now > self.verdict_by

    def fields(self) -> dict[str, Any]:
        """As keyword arguments of any event about the chip."""
        return {name: getattr(self, name) for name in self.__slots__}


def identity_of(event: ChipEvent) -> Identity:
    """The identity in an event's payload."""
    return Identity(
        event_id=event.event_id,
        chip_id=event.chip_id,
        line_id=event.line_id,
        product=event.product,
        captured_at=event.captured_at,
        verdict_by=event.verdict_by,
    )


def to_headers(identity: Identity) -> Headers:
    """Kafka headers that carry the identity; times are milliseconds since the epoch, in decimal."""
    headers = [(name, getattr(identity, name).encode()) for name in IDS]
    headers.append(("captured_at", b"%d" % _milliseconds(identity.captured_at)))
    if identity.verdict_by is not None:
        headers.append(("verdict_by", b"%d" % _milliseconds(identity.verdict_by)))
    return headers


def headers_of(event: ChipEvent) -> Headers:
    """Kafka headers of an event about a chip: its identity, and the verdict where it is one."""
    headers = to_headers(identity_of(event))
    if isinstance(event, ChipInspected | ChipRejected):
        headers.append((VERDICT, event.verdict.encode()))
    return headers


def from_headers(
    headers: Iterable[tuple[str, bytes | None]] | None,
    *,
    key: bytes | None,
    position: str,
    timestamp: datetime,
) -> Identity:
    """The best identity that can be had without the payload; never fails.

    What the headers lack comes from the record itself: the line from its key, the event's id from its position
    (``topic:partition:offset``, so that a record read again is the same event), the time from its timestamp. Ids that
    are too long to be carried on are cut.
    """
    found = {name: value for name, value in headers or () if value}
    return Identity(
        event_id=_text(found.get("event_id")) or position,
        chip_id=_text(found.get("chip_id")) or UNKNOWN,
        line_id=_text(found.get("line_id")) or _text(key) or UNKNOWN,
        product=_text(found.get("product")) or UNKNOWN,
        captured_at=_instant(found.get("captured_at")) or timestamp,
        verdict_by=_instant(found.get("verdict_by")),
    )


def is_whole(identity: Identity) -> bool:
    """Whether it holds what it says: an event that was written with another's schema may hold anything."""
    return (
        all(isinstance(getattr(identity, name), str) for name in IDS)
        and _is_instant(identity.captured_at)
        and (identity.verdict_by is None or _is_instant(identity.verdict_by))
    )


def overlong(identity: Identity) -> list[str]:
    """The names of the ids that are too long to be carried on."""
    return [name for name in IDS if len(getattr(identity, name)) > MAX_ID_LENGTH]


def shortened(identity: Identity) -> Identity:
    """The identity with its ids cut where they are too long."""
    return Identity(**identity.fields() | {name: cut(getattr(identity, name)) for name in IDS})


def cut(text: str) -> str:
    """A text as an id that can be carried on: where it is too long, its beginning and a digest of the whole."""
    if len(text) <= MAX_ID_LENGTH:
        return text
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).hexdigest()
    return f"{text[: MAX_ID_LENGTH - len(digest) - 1]}…{digest}"


def _is_instant(value: object) -> bool:
    return isinstance(value, datetime) and value.tzinfo is not None


def _text(value: bytes | None) -> str:
    return cut((value or b"").decode("utf-8", "replace"))


def _milliseconds(instant: datetime) -> int:
    return (instant - EPOCH) // timedelta(milliseconds=1)


def _instant(milliseconds: bytes | None) -> datetime | None:
    try:
        return EPOCH + timedelta(milliseconds=int(milliseconds or b""))
    except (ValueError, OverflowError):
        return None
