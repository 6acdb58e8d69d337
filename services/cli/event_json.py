"""Events and their parts as plain JSON for people and scripts."""

import base64
import hashlib
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any

INLINE_BYTES = 4096  # an anomaly map or a key is shown whole; a picture or a feature grid by size and checksum


def plain(value: Any) -> Any:
    """A value of an event as JSON: times in ISO 8601, records as objects, bytes as `plain_bytes`."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds")
    return plain_bytes(value) if isinstance(value, bytes) else value


def plain_bytes(value: bytes) -> dict[str, Any]:
    """Bytes by their number and, short ones, as base64, and as text where they are; long ones by their SHA-256."""
    if len(value) > INLINE_BYTES:
        return {"bytes": len(value), "sha256": hashlib.sha256(value).hexdigest()}
    shown: dict[str, Any] = {"bytes": len(value), "base64": base64.b64encode(value).decode()}
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return shown
    return {**shown, "text": text} if text.isprintable() else shown
