"""Bytes of a picture, or a file that holds them → ImageCaptured.

Pure apart from reading the file: nothing here knows Kafka or HTTP. Whether the bytes are a picture that can be
inspected is not asked here; the HTTP gateway asks it at its door, a folder's pictures are judged by the pipeline.
"""

import hashlib
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

from services.gateway.errors import ChecksumMismatch, InvalidIdentity, OutsideRoot, OversizeImage
from shared.events import ImageCaptured
from shared.identity import MAX_ID_LENGTH, Identity

# A year: past it a deadline is a mistake in the unit, and far before it time arithmetic could overflow.
MAX_DEADLINE_MS = 366 * 24 * 3_600_000
# Within what every consumer's clock can tell; also keeps arithmetic with deadlines from overflowing.
LATEST = datetime(3000, 1, 1, tzinfo=UTC)
# Clocks of one plant agree to within milliseconds; past this a camera's is fast.
AHEAD = timedelta(milliseconds=100)
# What bytes that are no UTF-8 have become by the time that they are text: two ids that differ would be one.
REPLACED = "\N{REPLACEMENT CHARACTER}"


def identify(
    *,
    line_id: str,
    product: str,
    chip_id: str,
    event_id: str | None = None,
    captured_at: datetime | None = None,
    verdict_by: datetime | None = None,
    deadline_ms: int | None = None,
) -> Identity:
    """The identity of a chip whose picture is to be stored.

    Args:
        line_id: the production line.
        product: the product on it.
        chip_id: the chip, as the line knows it.
        event_id: unique id of this picture; a new one where not given.
        captured_at: when the picture was taken; now where not given.
        verdict_by: when the verdict must be there, or
        deadline_ms: the same as milliseconds after `captured_at`.

    Raises:
        InvalidIdentity: an id is empty, too long, not printable or was no UTF-8, the deadline is given twice, cannot be
            or lies before the time that the picture is said to be of, or the picture comes from after `LATEST`.
    """
    for name, value in (("line", line_id), ("product", product), ("chip", chip_id), ("event_id", event_id)):
        if value is not None:
            check_id(name, value)
    if captured_at is not None and verdict_by is not None and verdict_by < captured_at:
        # Where no time is given, it is the sender's delay that has used up the deadline: the chip is late.
        raise InvalidIdentity(
            f"verdict_by is {verdict_by.isoformat()}, before captured_at, {captured_at.isoformat()}: take both from "
            "one clock"
        )
    captured_at = _to_milliseconds(captured_at or datetime.now(UTC))
    if captured_at >= LATEST:
        raise InvalidIdentity(f"captured_at is {captured_at.isoformat()}: set the clock it comes from")
    if deadline_ms is not None:
        if verdict_by is not None:
            raise InvalidIdentity("verdict_by and deadline_ms are both given: keep one")
        if not 0 < deadline_ms <= MAX_DEADLINE_MS:
            raise InvalidIdentity(f"deadline_ms is {deadline_ms}: give milliseconds between 1 and {MAX_DEADLINE_MS}")
        verdict_by = captured_at + timedelta(milliseconds=deadline_ms)
    return Identity(
        event_id=event_id or uuid.uuid4().hex,
        chip_id=chip_id,
        line_id=line_id,
        product=product,
        captured_at=captured_at,
        verdict_by=_to_milliseconds(verdict_by) if verdict_by else None,
    )


def check_id(name: str, value: str) -> None:
    """Whether `value` can name a line, product, chip or event. Raises `InvalidIdentity`."""
    if not value.strip():
        raise InvalidIdentity(f"{name} is empty: name it")
    if len(value) > MAX_ID_LENGTH:
        raise InvalidIdentity(f"{name} has {len(value)} characters: use at most {MAX_ID_LENGTH}")
    if value != value.strip() or not value.isprintable():
        raise InvalidIdentity(f"{name} is {value!r}: use printable characters without spaces at either end")
    if REPLACED in value:
        raise InvalidIdentity(f"{name} is {value!r}, which was no UTF-8: send ids in UTF-8 (ä is %C3%A4 in a query)")


def is_ahead(captured_at: datetime, now: datetime) -> bool:
    """Whether a picture comes from the future, so that the clock it comes from is fast."""
    return captured_at > now + AHEAD


def capture(
    identity: Identity, data: bytes, *, max_image_bytes: int, expected_sha256: str | None = None
) -> ImageCaptured:
    """The event of a picture that travels inline.

    Raises:
        OversizeImage: more than `max_image_bytes`.
        ChecksumMismatch: the bytes are not those of `expected_sha256`.
    """
    if len(data) > max_image_bytes:
        raise oversize(len(data), max_image_bytes)
    sha256 = hashlib.sha256(data).hexdigest()
    if expected_sha256 is not None and sha256 != expected_sha256.lower():
        raise ChecksumMismatch(
            f"the {len(data)} bytes have sha256 {sha256}, not {expected_sha256}: changed on the way, send again"
        )
    return ImageCaptured(**identity.fields(), sha256=sha256, image_bytes=data)


def capture_by_reference(identity: Identity, path: Path, *, root: Path) -> ImageCaptured:
    """The event of a picture that stays where it is; the extractor reads it from below the same root.

    Raises:
        OutsideRoot: the file, links followed, does not lie below `root`.
        OSError: the file cannot be read.
    """
    resolved = path.resolve(strict=True)
    if not resolved.is_relative_to(root.resolve()):
        raise OutsideRoot(f"{path} (that is {resolved}) lies outside the image root {root}: move it or widen the root")
    with resolved.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return ImageCaptured(**identity.fields(), sha256=sha256, image_uri=resolved.as_uri())


def oversize(size: int, limit: int) -> OversizeImage:
    """The refusal of a picture that is too large to travel inline, naming the limit."""
    return OversizeImage(
        f"the picture has {size} bytes or more; the limit is {limit} bytes (max_image_bytes in schemas/topics.yaml): "
        "compress it, or send it by reference"
    )


def _to_milliseconds(instant: datetime) -> datetime:
    """What the schema carries, so that an event is the same before Kafka and after."""
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)
