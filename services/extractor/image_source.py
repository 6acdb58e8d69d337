"""The encoded picture of an event: inline, or read by reference from below a configured root."""

import hashlib
from pathlib import Path
from urllib.parse import unquote, urlsplit

from services.extractor.errors import ImageUnavailable
from shared.events import ImageCaptured


def read_image(event: ImageCaptured, *, root: Path | None, max_bytes: int) -> bytes:
    """The picture's bytes, of the SHA-256 that the event names.

    Raises:
        ImageUnavailable: no picture, a reference that leads outside the root, a file that is missing or larger than
            `max_bytes`, or other bytes than were captured.
    """
    if event.image_bytes is not None:
        data = event.image_bytes
    elif event.image_uri is not None:
        data = _read_referenced(event.image_uri, root=root, max_bytes=max_bytes)
    else:
        raise ImageUnavailable("the event has neither image_bytes nor image_uri: set one of them")
    actual = hashlib.sha256(data).hexdigest()
    if actual != event.sha256.lower():
        raise ImageUnavailable(
            f"the picture has sha256 {actual}, the event says {event.sha256}: it was changed or mixed up"
        )
    return data


def _read_referenced(uri: str, *, root: Path | None, max_bytes: int) -> bytes:
    if root is None:
        raise ImageUnavailable(f"{uri!r} is a reference, but no image root is set: set CHIPSIEVE_IMAGES__ROOT")
    try:
        address = urlsplit(uri)
    except ValueError as error:
        raise ImageUnavailable(f"{uri!r} is no address ({error}): use file:///path below {root}") from error
    if address.scheme != "file" or address.netloc not in ("", "localhost"):
        raise ImageUnavailable(f"{uri!r} is no local file: use file:///path below {root}")
    try:
        # Resolved before it is compared, so that neither .. nor a link leads out of the root.
        path = Path(unquote(address.path)).resolve(strict=True)
        if not path.is_relative_to(root.resolve()):
            raise ImageUnavailable(f"{uri!r} lies outside the image root {root}")
        if not path.is_file():
            raise ImageUnavailable(f"{uri!r} is not a file")
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except (OSError, ValueError, RuntimeError) as error:
        raise ImageUnavailable(f"{uri!r} cannot be read: {error}") from error
    if len(data) > max_bytes:
        raise ImageUnavailable(
            f"{uri!r} is larger than {max_bytes} bytes, the limit CHIPSIEVE_IMAGES__MAX_REFERENCED_BYTES"
        )
    return data
