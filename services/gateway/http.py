"""``POST /v1/images``: one encoded picture in, one stored event out.

The body is the picture, bare; who it is about stands in the query:

    curl --data-binary @chip.jpg 'http://gateway:8080/v1/images?line=line-1&product=qfn32&chip=4711'

Query: ``line``, ``product``, ``chip``; optional ``captured_at`` and ``verdict_by`` (ISO 8601 with a zone, or
milliseconds since 1970), ``deadline_ms`` (instead of ``verdict_by``, counted from ``captured_at``), ``event_id`` (the
sender's own, one for each picture of its line, so that a request which is sent again is not stored again), ``sha256``
(of the body, lower-case hex).

Where the gateway has a file of tokens (`services.gateway.tokens`), the header ``Authorization: Bearer TOKEN`` must
be one that is good for the line: 401 and 403 otherwise. 429 with ``Retry-After`` says that the line sends more than it
may. All of this comes before the body is read.

The answer comes after Kafka has acknowledged: 201, or 200 where the event was stored before, with ``event_id``,
``topic``, ``partition`` and ``offset``. Any other has ``reason`` and ``detail``: 4xx where the same request would be
refused again, and nothing is stored; 503 with ``Retry-After`` where it is worth sending again. After a 503 Kafka may
still have taken a picture whose acknowledgement was lost: a sender that gives its own ``event_id`` lets consumers tell.
"""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.gateway.body import LEAST_HELD, read_body
from services.gateway.capture import LATEST, capture, identify, is_ahead
from services.gateway.doorkeeper import Doorkeeper
from services.gateway.errors import (
    ChecksumMismatch,
    ConflictingEvent,
    ForbiddenLine,
    GatewayStopping,
    InvalidIdentity,
    OversizeImage,
    RateLimited,
    SenderGone,
    SlowBody,
    Unauthorized,
    UnsupportedBody,
    reason_of,
)
from services.gateway.producer import ImageProducer, Stored
from services.gateway.recent_events import RecentEvents
from services.gateway.room import Room
from services.gateway.settings import DoorSettings
from shared import metrics
from shared.errors import ChipsieveError, NotReady
from shared.events import ImageCaptured
from shared.identity import EPOCH, Identity
from shared.vision.errors import ImageTooLarge, UndecodableImage, UnsupportedImage
from shared.vision.picture import decode

STATUS: Mapping[type[ChipsieveError], int] = {
    InvalidIdentity: 400,
    SenderGone: 400,
    ForbiddenLine: 403,
    SlowBody: 408,
    ConflictingEvent: 409,
    OversizeImage: 413,
    ImageTooLarge: 413,
    UnsupportedBody: 415,
    UnsupportedImage: 415,
    UndecodableImage: 422,
    ChecksumMismatch: 422,
}
SOURCE = "http"  # in the metrics
RETRY_AFTER_S = 2  # a broker that changes its leader, or restarts, is back about then
MEBIBYTE = 2**20
PARAMETERS = frozenset({"line", "product", "chip", "captured_at", "verdict_by", "deadline_ms", "event_id", "sha256"})


def application(producer: ImageProducer, settings: DoorSettings) -> Starlette:
    """The gateway's HTTP interface."""
    door = _Door(producer, settings)
    interface = Starlette(
        routes=[Route("/v1/images", door.post_image, methods=["POST"])],
        exception_handlers={ChipsieveError: _refusal, HTTPException: _http_error, Exception: _internal_error},
    )
    # A redirect of /v1/images/ is a success to many a sender, which does not follow it: its picture would be lost.
    interface.router.redirect_slashes = False
    return interface


class _Door:
    def __init__(self, producer: ImageProducer, settings: DoorSettings) -> None:
        self._producer = producer
        self._settings = settings
        self._recent = RecentEvents(settings.remembered_events)
        self._doorkeeper = Doorkeeper(settings.tokens_file, rate=settings.rate_limit, burst=settings.rate_burst)
        self._judges = CapacityLimiter(settings.judge_threads)
        self._bodies = Room(
            settings.bodies_mib * MEBIBYTE, unit="bytes of pictures", setting="CHIPSIEVE_GATEWAY__BODIES_MIB"
        )
        self._whole = Room(settings.max_in_flight, unit="pictures", setting="CHIPSIEVE_GATEWAY__MAX_IN_FLIGHT")

    async def post_image(self, request: Request) -> JSONResponse:
        with metrics.STORE_SECONDS.labels(SOURCE).time():
            try:
                answer = await self._unless_stopped(request)
            except Exception as error:  # counted, whatever it is, and raised again
                metrics.IMAGES.labels(SOURCE, reason_of(error)).inc()
                raise
        metrics.IMAGES.labels(SOURCE, "STORED").inc()
        return answer

    async def _unless_stopped(self, request: Request) -> JSONResponse:
        try:
            return await self._store(request)
        except asyncio.CancelledError as error:  # by the server, at the end of its time to drain, and by nobody else
            raise GatewayStopping(
                "this gateway was told to stop before it knew the picture to be stored: send it again"
            ) from error

    async def _store(self, request: Request) -> JSONResponse:
        query = request.query_params
        allowed = self._doorkeeper.authenticate(request.headers.get("authorization"))
        identity = _identity(query)
        line = identity.line_id
        self._doorkeeper.admit(line, allowed)
        if is_ahead(identity.captured_at, datetime.now(UTC)):
            metrics.CLOCK_AHEAD.labels(SOURCE, metrics.counted_as(line, identity.product)[0]).inc()
        self._whole.ask(line, 1)  # before its body is sent in vain
        with self._bodies.place(line, LEAST_HELD) as place:
            limit, timeout_ms = self._producer.max_image_bytes, self._settings.body_timeout_ms
            data = await read_body(request, place, limit=limit, timeout_ms=timeout_ms)
            # Only now: a picture that comes slowly must not keep those of others waiting, which are here.
            with self._whole.place(line, 1):
                return await self._take_in(identity, data, query)

    async def _take_in(self, identity: Identity, data: bytes, query: QueryParams) -> JSONResponse:
        event = await to_thread.run_sync(self._judge, identity, data, query.get("sha256"), limiter=self._judges)
        known = self._recent.find(event)
        storing = known or asyncio.ensure_future(self._publish(event))
        if known is None and "event_id" in query:
            self._recent.remember(event, storing)
        # Shielded: whether Kafka has the picture does not depend on whether this sender still listens.
        return JSONResponse(asdict(await asyncio.shield(storing)), status_code=200 if known else 201)

    def _judge(self, identity: Identity, data: bytes, expected_sha256: str | None) -> ImageCaptured:
        event = capture(identity, data, max_image_bytes=self._producer.max_image_bytes, expected_sha256=expected_sha256)
        # Decoded to the last pixel: a truncated picture tells by nothing less, and here its sender can still be told.
        decode(data, max_pixels=self._settings.max_pixels)
        return event

    async def _publish(self, event: ImageCaptured) -> Stored:
        # In a thread, because the first one asks the registry for the schema's id.
        return await asyncio.wrap_future(await to_thread.run_sync(self._producer.publish, event))


def _identity(query: QueryParams) -> Identity:
    if unknown := sorted(set(query) - PARAMETERS):
        raise InvalidIdentity(f"no such parameter: {', '.join(unknown)}; there are {', '.join(sorted(PARAMETERS))}")
    if repeated := sorted(name for name in set(query) if len(query.getlist(name)) > 1):
        raise InvalidIdentity(f"given more than once: {', '.join(repeated)}; give each parameter once")
    if missing := [name for name in ("line", "product", "chip") if name not in query]:
        raise InvalidIdentity(f"missing in the query: {', '.join(missing)}; add ?line=…&product=…&chip=…")
    return identify(
        line_id=query["line"],
        product=query["product"],
        chip_id=query["chip"],
        event_id=query.get("event_id"),
        captured_at=_instant(query, "captured_at"),
        verdict_by=_instant(query, "verdict_by"),
        deadline_ms=_whole_number(query, "deadline_ms"),
    )


def _instant(query: QueryParams, name: str) -> datetime | None:
    text = query.get(name)
    if text is None:
        return None
    try:
        instant = EPOCH + timedelta(milliseconds=int(text)) if text.isdecimal() else datetime.fromisoformat(text)
        if instant.tzinfo is not None and EPOCH <= instant < LATEST:
            return instant.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise InvalidIdentity(
        f"{name} is {text!r}: give ISO 8601 with a zone (2026-05-01T08:00:00Z; a plus sign is %2B in a query), or "
        "milliseconds since 1970"
    )


def _whole_number(query: QueryParams, name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not text.isdecimal() or len(text) > 18:
        raise InvalidIdentity(f"{name} is {text!r}: give a whole number of milliseconds")
    return int(text)


async def _refusal(_: Request, error: Exception) -> Response:
    if isinstance(error, RateLimited):
        return _answer(429, reason_of(error), str(error), {"retry-after": str(math.ceil(error.retry_after_s))})
    if isinstance(error, Unauthorized):
        return _answer(401, reason_of(error), str(error), {"www-authenticate": "Bearer"})
    if isinstance(error, NotReady):
        return _answer(503, reason_of(error), str(error), {"retry-after": str(RETRY_AFTER_S)})
    status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)
    return _answer(status, reason_of(error), str(error))


async def _http_error(request: Request, error: Exception) -> Response:
    status, detail = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, str(error))
    reason = detail.upper().replace(" ", "_")
    if request.method in {"POST", "PUT"}:  # a picture, most likely; anything else is somebody who looks around
        metrics.IMAGES.labels(SOURCE, reason).inc()
    return _answer(status, reason, f"{detail}: the interface is POST /v1/images")


async def _internal_error(_: Request, error: Exception) -> Response:
    return _answer(
        500, "INTERNAL_ERROR", f"{type(error).__name__}; the gateway's log says more. It may be stored or not"
    )


def _answer(status: int, reason: str, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"reason": reason, "detail": detail}, status_code=status, headers=headers)
