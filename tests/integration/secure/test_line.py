"""A chip goes through the whole line, every process as its own user."""

import hashlib
import itertools
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services.cli.demo.render import render_chip
from services.cli.line import STAGES, Line, free_port
from shared import tracing
from shared.bank.bundle_folder import read_bundle
from shared.bank.store import BankStore
from shared.events import ChipInspected, ChipRejected, Verdict
from shared.kafka import reader_config
from shared.settings import TraceSettings
from shared.topics import Topics
from shared.wire.codec import Codec
from shared.wire.registry import SchemaRegistry
from tests.bad_pictures import encoded
from tests.integration.secure.collector import Collector
from tests.integration.secure.conftest import GuardedStack
from tests.integration.valkey import wait_until

PATIENCE_S = 120
TOKEN = "the camera's own"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as listening:
        yield listening


@pytest.fixture(scope="module")
def gateway(
    guarded: GuardedStack,
    guarded_topics: Topics,
    bundle: Path,
    collector: Collector,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """The running line; the gateway's URL."""
    store = BankStore(guarded.settings("trainer").redis)
    store.publish(read_bundle(bundle))
    store.close()
    port = free_port()
    folder = tmp_path_factory.mktemp("line")
    (folder / "tokens").write_text(f"{hashlib.sha256(TOKEN.encode()).hexdigest()} line-1\n")
    settings = {
        "CHIPSIEVE_GATEWAY__PORT": str(port),
        "CHIPSIEVE_GATEWAY__TOKENS_FILE": str(folder / "tokens"),
        "CHIPSIEVE_GATEWAY__SSL_CERTIFICATE": str(guarded.security.file("front", "crt")),
        "CHIPSIEVE_GATEWAY__SSL_KEY": str(guarded.security.file("front", "key")),
        "CHIPSIEVE_TRACE__ENDPOINT": collector.endpoint,
        "CHIPSIEVE_TRACE__SHARE": "1.0",
        "OTEL_BSP_SCHEDULE_DELAY": "100",  # milliseconds until spans are sent
    }
    with Line(settings, folder, services=()) as line:
        for service in (*STAGES, "gateway"):
            line.start(service, env=guarded.addresses.env(service))
        line.wait_until_ready()
        yield f"https://127.0.0.1:{port}/v1/images?product=soic-8"
        line.check()


def trusting(guarded: GuardedStack) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(guarded.security.authority))


def received(guarded: GuardedStack, user: str, event: type, topics: Topics, event_id: str) -> object:
    """The event about a chip, as this user's consumer reads it."""
    settings, topic = guarded.settings(user), topics.topic_of(event)
    with SchemaRegistry(settings.registry) as registry:
        codec = Codec(registry, topics)
        consumer = Consumer({**reader_config(settings.kafka, topics, group=f"{user}-2"), "enable.partition.eof": False})
        try:
            consumer.assign([TopicPartition(topic.name, partition, 0) for partition in range(topic.partitions)])
            while True:
                message = consumer.poll(PATIENCE_S)
                assert message is not None, f"no {event.__name__} of {event_id}"
                assert message.error() is None, message.error()
                if dict(message.headers() or []).get("event_id") == event_id.encode():
                    return codec.decode(message.value(), event)
        finally:
            consumer.close()


def test_a_chip_gets_its_verdict_and_a_reject_reaches_the_gate_in_one_trace(
    guarded: GuardedStack, guarded_topics: Topics, gateway: str, collector: Collector
) -> None:
    import numpy as np
    from PIL import Image

    good = render_chip(np.random.default_rng(7), "soic-8", None).picture
    covered = good.copy()
    covered[:] = 0
    stored = []
    for chip, picture in (("good", good), ("covered", covered)):
        # Without a body: who is refused while still sending one may find the connection closed before the answer.
        request = urllib.request.Request(f"{gateway}&line=line-1&chip={chip}", method="POST")
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(request, timeout=PATIENCE_S, context=trusting(guarded))
        request.data = encoded(Image.fromarray(picture), "PNG")
        request.add_header("authorization", f"Bearer {TOKEN}")
        with urllib.request.urlopen(request, timeout=PATIENCE_S, context=trusting(guarded)) as answer:
            assert answer.status == 201
            stored.append(json.load(answer)["event_id"])
    verdicts = [received(guarded, "mes", ChipInspected, guarded_topics, event_id) for event_id in stored]
    assert [verdict.verdict for verdict in verdicts] == [Verdict.PASS, Verdict.REJECT]
    reject = received(guarded, "reject-gate", ChipRejected, guarded_topics, stored[1])
    assert isinstance(reject, ChipRejected)
    assert reject.chip_id == "covered"

    tracing.configure(TraceSettings(share=1.0), "test", InMemorySpanExporter())
    trace = tracing.begin(stored[1])
    tracing.shutdown()
    assert trace is not None
    names = [f"chipsieve-{service}" for service in ("gateway", *STAGES)]
    wait_until(lambda: collector.of(trace.hex_id).keys() == set(names), seconds=PATIENCE_S)
    spans = [collector.of(trace.hex_id)[name] for name in names]
    for before, after in itertools.pairwise(spans):
        assert after.parent_span_id == before.span_id
        assert after.links, "to its batch"
