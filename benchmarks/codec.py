"""Events to Avro and back, a record."""

from datetime import UTC, datetime
from functools import partial

from benchmarks.registry import MemoryRegistry
from benchmarks.table import Table, command, fastest
from services.gateway.capture import capture, identify
from shared.events import AnomalyMap, ChipInspected, Event, FeatureGrid, FeaturesExtracted, ImagePointer, Verdict
from shared.identity import ChipEvent, identity_of
from shared.topics import load_topics
from shared.wire.codec import Codec

ROUNDS, TIMES = 8, 200
IMAGE_BYTES = 50_000


def measure() -> Table:
    """Microseconds of encoding and decoding each event of the line."""
    codec = Codec(MemoryRegistry(), load_topics())
    now = datetime.now(UTC)
    identity = identify(line_id="line-0", product="chip", chip_id="c-1", captured_at=now, deadline_ms=500)
    image = capture(identity, bytes(IMAGE_BYTES), max_image_bytes=2 * IMAGE_BYTES)
    fields = identity_of(image).fields()
    pointer = ImagePointer(topic="images", partition=0, offset=1, sha256=image.sha256)
    grids = tuple(
        FeatureGrid(layer=name, height=8, width=8, channels=192, values=bytes(64 * 192), scales=bytes(64 * 4))
        for name in ("b12@256/3", "b14@256/3")
    )
    events: list[ChipEvent] = [
        image,
        FeaturesExtracted(**fields, image=pointer, height=320, width=320, feature_space="0" * 16, grids=grids),
        ChipInspected(
            **fields,
            verdict=Verdict.PASS,
            score=1.0,
            threshold=2.0,
            anomaly_map=AnomalyMap(height=8, width=8, values=bytes(128)),
            image=pointer,
            inspected_at=now,
        ),
    ]
    rows = []
    for event in events:
        value = codec.encode(event)
        best = fastest(
            {
                "encode": partial(_repeat_encode, codec, event),
                "decode": partial(_repeat_decode, codec, value, type(event)),
            },
            rounds=ROUNDS,
        )
        microseconds = {f"{name} us": round(seconds / TIMES * 1e6, 1) for name, seconds in best.items()}
        rows.append({"event": event.SCHEMA, "bytes": len(value), **microseconds})
    return Table("Avro in Confluent's wire format, one thread", rows)


def _repeat_encode(codec: Codec, event: Event) -> None:
    for _ in range(TIMES):
        codec.encode(event)


def _repeat_decode(codec: Codec, value: bytes, event: type[Event]) -> None:
    for _ in range(TIMES):
        codec.decode(value, event)


if __name__ == "__main__":
    command(measure)
