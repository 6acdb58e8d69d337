"""Events about chips, for tests that need some: every field has a plain value unless it is given."""

import hashlib
from datetime import UTC, datetime

from shared.events import ImageCaptured
from shared.identity import Identity, identity_of
from shared.stream.step import Record, Source

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def identity(number: int = 0, **fields: object) -> Identity:
    """A chip's identity; chips of one number are one chip."""
    plain = {
        "event_id": f"event-{number}",
        "chip_id": f"chip-{number}",
        "line_id": "line-1",
        "product": "soic-8",
        "captured_at": NOON,
    }
    return Identity(**(plain | fields))


def image_captured(picture: bytes, number: int = 0, **fields: object) -> ImageCaptured:
    """A picture that travels inline."""
    plain = identity(number).fields() | {"sha256": hashlib.sha256(picture).hexdigest(), "image_bytes": picture}
    return ImageCaptured(**(plain | fields))


def record_of(event, offset: int = 0) -> Record:
    """An event as the runtime hands it to a step."""
    return Record(identity_of(event), event, Source("input", 0, offset))
