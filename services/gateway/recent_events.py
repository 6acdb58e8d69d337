"""Remembers what was stored lately, so that a request that comes again is answered without storing it again.

Only while the process lives, and only the latest ones: over a restart of the gateway a repeated request is stored a
second time, with the same event id, by which the extractor can tell (`shared.stream.once`).
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

from services.gateway.errors import ConflictingEvent
from services.gateway.producer import Stored
from shared.events import ImageCaptured

Key = tuple[str, str]
"""Line and event id: a sender may speak for its own lines alone, so what it says must touch no other's."""
Content = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class _Remembered:
    content: Content
    storing: asyncio.Future[Stored]


class RecentEvents:
    """The latest events of all lines by line and id, stored or being stored. For one event loop.

    Args:
        limit: how many are remembered.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._by_key: OrderedDict[Key, _Remembered] = OrderedDict()

    def find(self, event: ImageCaptured) -> asyncio.Future[Stored] | None:
        """Where the event lies or is about to, None where it is new.

        Raises:
            ConflictingEvent: its id was used for another picture, product or chip of its line.
        """
        remembered = self._by_key.get(_key(event))
        if remembered is None:
            return None
        if remembered.content != _content(event):
            raise ConflictingEvent(
                f"event_id {event.event_id!r} was used for another picture or chip: give every picture its own"
            )
        return remembered.storing

    def remember(self, event: ImageCaptured, storing: asyncio.Future[Stored]) -> None:
        """Keep an event from now on; if storing it fails it is forgotten, so that it can be sent again."""
        key = _key(event)
        self._by_key[key] = _Remembered(_content(event), storing)
        storing.add_done_callback(lambda done: self._forget_failed(key, done))
        while len(self._by_key) > self._limit:
            self._by_key.popitem(last=False)

    def _forget_failed(self, key: Key, storing: asyncio.Future[Stored]) -> None:
        remembered = self._by_key.get(key)
        if (storing.cancelled() or storing.exception() is not None) and remembered and remembered.storing is storing:
            del self._by_key[key]


def _key(event: ImageCaptured) -> Key:
    return event.line_id, event.event_id


def _content(event: ImageCaptured) -> Content:
    return event.sha256, event.product, event.chip_id
