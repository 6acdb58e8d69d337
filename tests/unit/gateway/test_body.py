import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.datastructures import Headers

from services.gateway.body import read_body
from services.gateway.errors import OversizeImage
from services.gateway.room import Room

LIMIT = 10


class Sent:
    """A request whose body comes in pieces; notes how many were taken."""

    def __init__(self, *pieces: bytes, announced: int | None = None) -> None:
        self.headers = Headers({} if announced is None else {"content-length": str(announced)})
        self.taken = 0
        self._pieces = pieces

    async def stream(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            self.taken += 1
            yield piece


def read(sent: Sent) -> tuple[bytes, int]:
    """The body, and for how many bytes its place stands."""
    with Room(1000, unit="bytes", setting="SETTING").place("line-1", 0) as place:
        return asyncio.run(read_body(sent, place, limit=LIMIT, timeout_ms=60_000)), place.amount


@pytest.mark.parametrize("announced", [None, LIMIT])
def test_a_body_of_the_limit_comes_whole_and_has_room_for_all_of_it(announced: int | None) -> None:
    assert read(Sent(b"pict", b"ure", b"s..", announced=announced)) == (b"pictures..", LIMIT)


def test_a_body_that_is_announced_as_too_large_is_refused_before_any_of_it_is_taken() -> None:
    sent = Sent(b"picture", announced=LIMIT + 1)
    with pytest.raises(OversizeImage, match="11 bytes"):
        read(sent)
    assert sent.taken == 0


def test_of_a_body_that_grows_too_large_no_more_is_taken() -> None:
    sent = Sent(b"pictu", b"res..", b"!", b"and more")
    with pytest.raises(OversizeImage, match="11 bytes"):
        read(sent)
    assert sent.taken == 3
