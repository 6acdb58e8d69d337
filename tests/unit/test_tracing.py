import itertools
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared import tracing
from shared.errors import ConfigurationError
from shared.identity import Identity, to_headers
from shared.settings import TraceSettings
from shared.stream import report
from shared.stream.record import Received
from shared.stream.settled import Settled
from shared.stream.step import Source

NOW = datetime.now(UTC)


@pytest.fixture
def exported() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    tracing.configure(TraceSettings(share=1.0), "test", exporter)
    yield exporter
    tracing.shutdown()


def spans(exporter: InMemorySpanExporter) -> list[ReadableSpan]:
    tracing.shutdown()
    return list(exporter.get_finished_spans())


def settled(source: Source, event_id: str, trace: tracing.Trace | None) -> Settled:
    identity = Identity(event_id=event_id, chip_id="c", line_id="line-1", product="p", captured_at=NOW)
    headers = [*to_headers(identity), *([tracing.to_header(trace)] if trace else [])]
    received = Received(source, b"line-1", b"", tuple(headers), NOW - timedelta(seconds=1))
    return Settled(received, identity, (), "PASS")


def test_a_trace_travels_in_a_w3c_header() -> None:
    trace = tracing.Trace(0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7)
    name, value = tracing.to_header(trace)
    assert (name, value) == ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    assert tracing.from_headers([("event_id", b"1"), (name, value)]) == trace


@pytest.mark.parametrize("flags", [b"01", b"03", b"ff"])
def test_a_trace_is_taken_whatever_else_its_flags_say(flags: bytes) -> None:
    header = ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-" + flags)
    assert tracing.from_headers([header]) == tracing.Trace(0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7)


@pytest.mark.parametrize(
    "value",
    [
        *(b"", b"00", b"garbage", b"\xff\x00", None),
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",  # not sampled
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-02",
        b"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",  # of a later version
        b"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        b"00-4bf92f3577b34da6a3ce929d0e0e473x-00f067aa0ba902b7-01",
    ],
)
def test_a_header_that_says_nothing_is_no_trace(value: bytes | None) -> None:
    assert tracing.from_headers([("traceparent", value)]) is None


def test_a_chip_that_is_sent_again_has_the_same_trace(exported: InMemorySpanExporter) -> None:
    assert tracing.begin("chip-1") == tracing.begin("chip-1")
    assert tracing.begin("chip-1") != tracing.begin("chip-2")


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_the_share_of_traced_chips_is_as_asked(share: float) -> None:
    tracing.configure(TraceSettings(share=share), "test", InMemorySpanExporter())
    traced = sum(tracing.begin(f"chip-{number}") is not None for number in range(5000))
    tracing.shutdown()
    assert abs(traced / 5000 - share) < 0.02


def test_one_chip_is_one_trace_across_all_stages(exported: InMemorySpanExporter) -> None:
    root = tracing.begin("chip-1")
    assert root
    tracing.span("gateway", root, start=NOW, end=NOW)
    trace = root
    for stage, topic in (("extractor", "images"), ("matcher", "features"), ("router", "inspections")):
        source = Source(topic, 0, 7)
        report.committed(stage, [settled(source, "chip-1", trace)], 0.01)
        trace = tracing.onward(trace, str(source))  # what the encoder gives to what follows
    found = {span.name: span for span in spans(exported)}
    chain = [found[name] for name in ("gateway", "extractor", "matcher", "router")]
    assert {span.context.trace_id for span in chain} == {root.trace_id}
    for parent, child in itertools.pairwise(chain):
        assert child.parent.span_id == parent.context.span_id
    assert found["router"].attributes["chipsieve.event_id"] == "chip-1"
    assert found["router"].attributes["chipsieve.line"] == "line-1"


def test_a_batch_and_its_traced_chips_are_linked(exported: InMemorySpanExporter) -> None:
    traces = [tracing.begin("a"), None, tracing.begin("b")]
    records = [settled(Source("images", 0, i), str(i), trace) for i, trace in enumerate(traces)]
    report.committed("extractor", records, 0.01, 0.2)
    found = spans(exported)
    [batch] = [span for span in found if span.name == "extractor batch"]
    chips = [span for span in found if span.name == "extractor"]
    assert len(chips) == 2
    assert {link.context.span_id for link in batch.links} == {chip.context.span_id for chip in chips}
    assert all(chip.links[0].context.span_id == batch.context.span_id for chip in chips)
    assert (batch.end_time - batch.start_time) / 1e9 == pytest.approx(0.21, abs=0.001)


def test_a_record_that_is_done_again_after_an_abort_has_the_same_span(exported: InMemorySpanExporter) -> None:
    trace = tracing.begin("a")
    assert trace
    assert tracing.onward(trace, "images:0:7") == tracing.onward(trace, "images:0:7")
    assert tracing.onward(trace, "images:0:7") != tracing.onward(trace, "images:0:8")


def test_where_traces_are_off_a_trace_is_passed_on_as_it_came() -> None:
    trace = tracing.Trace(1, 2)
    assert tracing.begin("a") is None
    assert tracing.onward(trace, "images:0:7") == trace
    report.committed("extractor", [settled(Source("images", 0, 0), "a", trace)], 0.01)


def test_where_traces_are_off_nothing_of_them_is_loaded() -> None:
    code = "import sys, shared.stream.service; sys.exit(any(m.startswith('opentelemetry') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("endpoint", ["collector:4317", ""])
def test_an_endpoint_that_is_no_url_is_named(endpoint: str) -> None:
    with pytest.raises(ConfigurationError, match=f"CHIPSIEVE_TRACE__ENDPOINT is '{endpoint}'"):
        tracing.configure(TraceSettings(endpoint=endpoint), "test")


def test_a_collector_that_does_not_answer_keeps_no_process_from_ending() -> None:
    answered = Event()

    class Silent(InMemorySpanExporter):
        def export(self, spans: object) -> SpanExportResult:
            answered.wait(10)
            return SpanExportResult.FAILURE

    tracing.configure(TraceSettings(share=1.0), "test", Silent())
    tracing.span("gateway", tracing.new(), start=NOW, end=NOW)
    began = time.monotonic()
    tracing.shutdown()
    answered.set()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("end", ["", "/"])
def test_spans_are_sent_to_the_collectors_own_path(end: str) -> None:
    asked = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.requestline)  # of its path, this server leaves one slash out of two
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector:
        Thread(target=collector.serve_forever, args=(0.01,), daemon=True).start()
        endpoint = f"http://127.0.0.1:{collector.server_address[1]}{end}"
        tracing.configure(TraceSettings(endpoint=endpoint, share=1.0), "test")
        tracing.span("gateway", tracing.new(), start=NOW, end=NOW)
        tracing.shutdown()
        collector.shutdown()
    assert asked == ["POST /v1/traces HTTP/1.1"]
