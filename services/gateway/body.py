"""A request's body: the bare bytes of a picture, taken in as they come and never more of them than may be."""

import asyncio

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request

from services.gateway.capture import oversize
from services.gateway.errors import SenderGone, SlowBody, UnsupportedBody
from services.gateway.room import Place

LEAST_HELD = 2**20
"""Bytes that a body counts for at least: what the server itself keeps of a connection, generously, so that senders who
send next to nothing are few too."""


async def read_body(request: Request, place: Place, *, limit: int, timeout_ms: int) -> bytes:
    """The body, whole; the server throws away what is still on its way where it is refused.

    Args:
        request: whose body is read.
        place: the memory that it takes; it grows with what has come, not with what was announced.
        limit: bytes that it may have.
        timeout_ms: how long it may take to arrive.

    Raises:
        UnsupportedBody: it is wrapped.
        OversizeImage: it has more bytes than the limit.
        GatewayBusy: there is no room for more of it.
        SlowBody: it did not come in time.
        SenderGone: it will not come.
    """
    _check_is_bare(request.headers)
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise oversize(int(announced), limit)
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            async for chunk in request.stream():
                if len(body) + len(chunk) > limit:
                    raise oversize(len(body) + len(chunk), limit)
                place.hold(len(body) + len(chunk))
                body += chunk
    except TimeoutError as error:
        raise SlowBody(
            f"{len(body)} bytes came in {timeout_ms} ms, then no end: send faster, or raise "
            "CHIPSIEVE_GATEWAY__BODY_TIMEOUT_MS"
        ) from error
    except ClientDisconnect as error:
        raise SenderGone("the sender went away before the picture was whole: send it again") from error
    return bytes(body)


def _check_is_bare(headers: Headers) -> None:
    content_type = headers.get("content-type", "").lower()
    if content_type.startswith("multipart/"):
        raise UnsupportedBody(f"the body is {content_type}: send the picture's bytes alone (curl --data-binary @FILE)")
    encoding = headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise UnsupportedBody(f"the body is encoded with {encoding}: send the picture as it is, it does not compress")
