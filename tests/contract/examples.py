"""One full example of each event: every field set, so that the golden bytes cover the whole schema."""

from datetime import UTC, datetime

from shared.events import (
    AlertKind,
    AlertRaised,
    AnomalyMap,
    ChipInspected,
    ChipRejected,
    ChipsSettled,
    DeadLetter,
    Event,
    FeatureGrid,
    FeaturesExtracted,
    Header,
    ImageCaptured,
    ImagePointer,
    LineObserved,
    Mask,
    Region,
    SettledChip,
    Uninspected,
    UninspectedReason,
    Verdict,
)

CAPTURED_AT = datetime(2026, 11, 24, 16, 15, 0, 123000, tzinfo=UTC)
LATER = datetime(2026, 11, 24, 16, 15, 0, 456000, tzinfo=UTC)
IDENTITY = {
    "event_id": "0193-event",
    "chip_id": "tray 7/chip 3",
    "line_id": "line-1",
    "product": "soic8",
    "captured_at": CAPTURED_AT,
    "verdict_by": datetime(2026, 11, 24, 16, 15, 2, tzinfo=UTC),
}
IMAGE = ImagePointer(topic="images", partition=3, offset=2**40, sha256="ab" * 32)
UNINSPECTED = Uninspected(reason=UninspectedReason.TOO_LATE, detail="Frist überschritten ⏱", stage="matcher")
REGIONS = (
    Region(x=10, y=20, width=30, height=40, area=900, peak=3.75),
    Region(x=0, y=1, width=2, height=3, area=5, peak=-0.5),
)

EXAMPLES: dict[str, Event] = {
    event.SCHEMA: event
    for event in (
        AlertRaised(
            alert_id="line-1:burst:0193-event",
            line_id="line-1",
            product="soic8",
            kind=AlertKind.REJECT_BURST,
            rule="burst",
            message="5 of the last 20 chips were rejected.",
            event_id="0193-event",
            count=5,
            window=20,
            raised_at=LATER,
        ),
        ChipInspected(
            **IDENTITY,
            verdict=Verdict.UNINSPECTED,
            uninspected=UNINSPECTED,
            score=4.5,
            threshold=2.25,
            defect_kind="crack",
            bank_version="20261124T161500-ab12cd34",
            feature_space="0123456789abcdef",
            engine="openvino 2026.2.1 f32 on Intel(R) Xeon(R) Processor",
            anomaly_map=AnomalyMap(height=1, width=2, values=b"\x00\x3c\xff\x7b"),
            mask=Mask(height=480, width=640, counts="`Xm0o0:001O"),
            regions=REGIONS,
            image=IMAGE,
            inspected_at=LATER,
        ),
        ChipRejected(
            **IDENTITY,
            verdict=Verdict.REJECT,
            uninspected=UNINSPECTED,
            score=4.5,
            threshold=2.25,
            defect_kind="crack",
            bank_version="20261124T161500-ab12cd34",
            regions=REGIONS,
            image=IMAGE,
            rejected_at=LATER,
        ),
        ChipsSettled(
            stage="matcher",
            chips=(
                SettledChip(digest=bytes(range(16)), uninspected=False),
                SettledChip(digest=bytes(16), uninspected=True),
            ),
            settled_at=LATER,
        ),
        DeadLetter(
            dead_letter_id="extractor:images:3:17",
            stage="extractor",
            topic="images",
            partition=3,
            offset=17,
            key=b"line-1",
            value=b"\x00\x01\xfe\xff",
            headers=(Header(name="chip_id", value=b"tray 7/chip 3"), Header(name="empty", value=None)),
            reason=UninspectedReason.MALFORMED_RECORD,
            error="MalformedRecord",
            detail="4 bytes that begin with 0x0001feff",
            event_id="images:3:17",
            chip_id="tray 7/chip 3",
            line_id="line-1",
            product="soic8",
            failed_at=LATER,
        ),
        FeaturesExtracted(
            **IDENTITY,
            image=IMAGE,
            width=640,
            height=480,
            feature_space="0123456789abcdef",
            engine="openvino 2026.2.1 f32 on Intel(R) Xeon(R) Processor",
            grids=(
                FeatureGrid(
                    layer="b12@256/3",
                    height=1,
                    width=2,
                    channels=2,
                    values=b"\x7f\x81\x00\x01",
                    scales=b"\0\0\x80?" * 2,
                ),
            ),
            uninspected=UNINSPECTED,
        ),
        LineObserved(
            line_id="line-1",
            event_id="0193-event",
            chip_id="tray 7/chip 3",
            product="soic8",
            verdict=Verdict.UNINSPECTED,
            seen=20,
            rejects=b"\x05\x0f",
            streak=3,
            burst_armed=False,
            streak_armed=True,
            silence_armed=False,
            seen_at=LATER,
        ),
        ImageCaptured(
            **IDENTITY, sha256="ab" * 32, image_bytes=b"\xff\xd8\xff\xe0", image_uri="file:///images/line-1/3.jpg"
        ),
    )
}
