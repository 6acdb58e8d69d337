"""One trace a chip across all stages, carried by the Kafka header ``traceparent`` (W3C). Off unless an endpoint is set.

The gateway decides, by the event's id, whether a chip is traced: the same chip sent again has the same trace, and
whoever knows the id knows the trace. A chip that is not traced carries no header. A stage's span is made when its
transaction has taken effect, so that what was tried in vain leaves none; its id follows from its parent and the record,
so that what follows from the record can name it before.
"""

import hashlib
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from threading import Thread
from typing import Any

from shared.errors import ConfigurationError
from shared.settings import TraceSettings, shown

TRACEPARENT = "traceparent"
_SAMPLED = b"01"
CLOSE_BUDGET_S = 0.5  # what a stage leaves of SIGTERM's 5 s; a collector that is there answers within milliseconds

_Attributes = Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Trace:
    """A chip's trace, and the span in it that is the parent of what follows."""

    trace_id: int
    span_id: int

    @property
    def hex_id(self) -> str:
        """The trace's id as tools show it."""
        return f"{self.trace_id:032x}"


class _Tracer:
    """Hands finished spans over to a collector, in the background."""

    def __init__(self, settings: TraceSettings, service: str, exporter: Any = None) -> None:
        # Only where traces are on: the import takes a quarter of a second and 10 MB.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        self.share = settings.share
        self._resource = Resource.create({"service.name": f"chipsieve-{service}"})
        address = f"{(settings.endpoint or '').rstrip('/')}/v1/traces"
        self._processor = BatchSpanProcessor(exporter or OTLPSpanExporter(endpoint=address))

    def hand_over(
        self,
        *,
        name: str,
        trace: Trace,
        parent: Trace | None,
        start: datetime,
        end: datetime,
        attributes: _Attributes,
        links: Sequence[Trace],
    ) -> None:
        from opentelemetry import trace as api  # noqa: PLC0415
        from opentelemetry.sdk.trace import ReadableSpan  # noqa: PLC0415

        def context(of: Trace) -> api.SpanContext:
            flags = api.TraceFlags(api.TraceFlags.SAMPLED)
            return api.SpanContext(of.trace_id, of.span_id, is_remote=of is not trace, trace_flags=flags)

        span = ReadableSpan(
            name,
            context=context(trace),
            parent=context(parent) if parent else None,
            resource=self._resource,
            attributes=attributes,
            links=[api.Link(context(link)) for link in links],
            kind=api.SpanKind.CONSUMER if parent else api.SpanKind.PRODUCER,
            start_time=_nanoseconds(start),
            end_time=_nanoseconds(end),
        )
        self._processor.on_end(span)

    def close(self) -> None:
        # On a thread that nobody need wait for: it tries until the collector answers, ten seconds and more.
        handing_over = Thread(target=self._processor.shutdown, name="spans", daemon=True)
        handing_over.start()
        handing_over.join(CLOSE_BUDGET_S)


_tracer: _Tracer | None = None


def configure(settings: TraceSettings, service: str, exporter: Any = None) -> None:
    """Trace from now on where an endpoint is set; `exporter` takes its place in tests.

    Raises `ConfigurationError` where the endpoint is no URL.
    """
    global _tracer  # noqa: PLW0603 - one a process, as for logs and metrics
    shutdown()
    if settings.endpoint is None and exporter is None:
        return
    if settings.endpoint is not None and not settings.endpoint.startswith(("http://", "https://")):
        raise ConfigurationError(
            f"CHIPSIEVE_TRACE__ENDPOINT is {shown(settings.endpoint)!r}: give the collector's URL, http://collector:4318"
        )
    _tracer = _Tracer(settings, service, exporter)


def shutdown() -> None:
    """Hand over what is left, if that can be done soon, and trace no more."""
    global _tracer  # noqa: PLW0603 - as in `configure`
    if _tracer:
        _tracer.close()
    _tracer = None


def is_on() -> bool:
    """Whether this process hands over spans."""
    return _tracer is not None


def begin(event_id: str) -> Trace | None:
    """The trace of a chip that comes in, or None where it is not traced."""
    if _tracer is None:
        return None
    digest = hashlib.blake2b(event_id.encode(), digest_size=32).digest()
    if int.from_bytes(digest[24:], "big") >= _tracer.share * 2**64:
        return None
    return Trace(int.from_bytes(digest[:16], "big"), int.from_bytes(digest[16:24], "big"))


def from_headers(headers: Iterable[tuple[str, bytes | None]]) -> Trace | None:
    """The trace that a record belongs to, where it has one that can be read and is sampled."""
    value = next((value for name, value in headers if name == TRACEPARENT), None)
    if value is None:
        return None
    version, _, rest = value.partition(b"-")
    parts = rest.split(b"-")
    if version != b"00" or [len(part) for part in parts] != [32, 16, 2]:
        return None
    try:
        trace = Trace(int(parts[0], 16), int(parts[1], 16))
        is_sampled = int(parts[2], 16) & 1  # the other bits say something else, as that the trace's id is random
    except ValueError:
        return None
    return trace if trace.trace_id and trace.span_id and is_sampled else None


def to_header(trace: Trace) -> tuple[str, bytes]:
    """The header that carries a trace."""
    return TRACEPARENT, b"00-%032x-%016x-%s" % (trace.trace_id, trace.span_id, _SAMPLED)


def onward(trace: Trace, place: str) -> Trace:
    """This stage's span for a record at `place`, the parent of what follows; unchanged where this process is silent."""
    if _tracer is None:
        return trace
    digest = hashlib.blake2b(f"{trace.trace_id:x} {trace.span_id:x} {place}".encode(), digest_size=8).digest()
    return Trace(trace.trace_id, int.from_bytes(digest, "big") or 1)


def new() -> Trace:
    """A trace of its own, for a batch."""
    return Trace(secrets.randbits(128) or 1, secrets.randbits(64) or 1)


def span(
    name: str,
    trace: Trace,
    *,
    start: datetime,
    end: datetime,
    parent: Trace | None = None,
    attributes: _Attributes | None = None,
    links: Sequence[Trace] = (),
) -> None:
    """Tell of something that has happened."""
    if _tracer:
        _tracer.hand_over(
            name=name, trace=trace, parent=parent, start=start, end=end, attributes=attributes or {}, links=links
        )


def _nanoseconds(instant: datetime) -> int:
    return int(instant.timestamp() * 1e9)
