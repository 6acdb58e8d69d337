from shared.events import ChipInspected, ChipRejected, Verdict
from shared.identity import REPLAY_OF, headers_of, identity_of, to_headers
from shared.stream.encoding import Encoder
from shared.stream.record import Received
from shared.stream.step import Source
from shared.topics import load_topics
from shared.wire.codec import Codec
from tests.events_of_chips import NOON, identity
from tests.registry_double import RegistryInMemory

TOPICS = load_topics()
CODEC = Codec(RegistryInMemory(), TOPICS)
INSPECTED = ChipInspected(**identity(1).fields(), verdict=Verdict.PASS, inspected_at=NOON)


def test_a_gate_reads_the_verdict_from_the_headers_of_what_follows() -> None:
    replayed = (*to_headers(identity_of(INSPECTED)), (REPLAY_OF, b"matcher:features:0:3"))
    received = Received(Source("features", 2, 7), b"line-1", b"", replayed, NOON)
    rejected = ChipRejected(**identity(1).fields(), verdict=Verdict.UNINSPECTED, rejected_at=NOON)
    outputs = Encoder(CODEC, TOPICS).following(received, identity(1), [INSPECTED, rejected])
    assert [(output.topic, dict(output.headers)["verdict"]) for output in outputs] == [
        ("inspections", b"PASS"),
        ("rejects", b"UNINSPECTED"),
    ]
    assert outputs[0].headers == [*headers_of(INSPECTED), (REPLAY_OF, b"matcher:features:0:3")]


def test_a_traced_chip_is_traced_on() -> None:
    traced = ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    received = Received(Source("features", 2, 7), b"line-1", b"", (traced,), NOON)
    (output,) = Encoder(CODEC, TOPICS).following(received, identity(1), [INSPECTED])
    assert traced in output.headers  # unchanged where this process tells no traces
