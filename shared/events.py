"""The events that flow through Chipsieve, made from `schemas/*.avsc`: edit those, then run `make events`."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar


class AlertKind(StrEnum):
    """Which kind of rule fired."""

    REJECT_BURST = "REJECT_BURST"
    LINE_SILENT = "LINE_SILENT"
    UNINSPECTED_STREAK = "UNINSPECTED_STREAK"
    OTHER = "OTHER"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRaised:
    """Something people should look at on a line."""

    SCHEMA: ClassVar[str] = "AlertRaised"

    alert_id: str
    """Unique and deterministic: the same situation gives the same id."""
    line_id: str
    """The line; also the record's key."""
    product: str | None = None
    """The product on the line, where the rule is about one."""
    kind: AlertKind
    """Which kind of rule fired."""
    rule: str
    """Name of the rule in the rules file."""
    message: str
    """One sentence for people."""
    event_id: str | None = None
    """The chip that made the rule fire; null for a silent line."""
    count: int = 0
    """Chips counted by the rule."""
    window: int = 0
    """Chips (or seconds, for a silent line) the rule looked at."""
    raised_at: datetime
    """When the alert was raised (UTC)."""


class Verdict(StrEnum):
    """What was decided about a chip."""

    PASS = "PASS"
    REJECT = "REJECT"
    UNINSPECTED = "UNINSPECTED"


class UninspectedReason(StrEnum):
    """Why a chip could not be judged."""

    UNDECODABLE_IMAGE = "UNDECODABLE_IMAGE"
    IMAGE_TOO_LARGE = "IMAGE_TOO_LARGE"
    UNSUPPORTED_IMAGE = "UNSUPPORTED_IMAGE"
    IMAGE_UNAVAILABLE = "IMAGE_UNAVAILABLE"
    UNKNOWN_PRODUCT = "UNKNOWN_PRODUCT"
    UNKNOWN_FEATURE_SPACE = "UNKNOWN_FEATURE_SPACE"
    TOO_LATE = "TOO_LATE"
    MALFORMED_RECORD = "MALFORMED_RECORD"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    OTHER = "OTHER"


@dataclass(frozen=True, slots=True, kw_only=True)
class Uninspected:
    """Why a chip could not be judged."""

    reason: UninspectedReason
    """Machine-readable cause."""
    detail: str
    """One sentence for people: what was wrong, the value and the remedy."""
    stage: str
    """The stage that gave up on the chip: extractor, matcher or router."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnomalyMap:
    """Distance of every patch to the nearest normal, before upsampling."""

    height: int
    """Patches down."""
    width: int
    """Patches across."""
    values: bytes
    """Little-endian float16, height x width, row-major; same unit as the mask threshold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """COCO run-length encoding of the anomalous pixels, in the original picture's size."""

    height: int
    """Height of the picture."""
    width: int
    """Width of the picture."""
    counts: str
    """Compressed COCO RLE counts (ASCII), column-major."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """One connected anomalous region, in pixels of the original picture."""

    x: int
    """Left edge."""
    y: int
    """Top edge."""
    width: int
    """Width of the bounding box."""
    height: int
    """Height of the bounding box."""
    area: int
    """Pixels of the region."""
    peak: float
    """Largest value of the anomaly map inside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePointer:
    """Where the picture can be read again."""

    topic: str
    """Topic of the ImageCaptured record."""
    partition: int
    """Its partition."""
    offset: int
    """Its offset."""
    sha256: str | None = None
    """SHA-256 of the encoded picture, lower-case hex; null where the record could not be decoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipInspected:
    """The verdict on a chip: exactly one for every picture, good or bad."""

    SCHEMA: ClassVar[str] = "ChipInspected"

    event_id: str
    """Unique id of the picture's event, given once at the gateway; the same in every event about it."""
    chip_id: str
    """The chip's own id as the line knows it (serial number, tray position)."""
    line_id: str
    """The production line; also the record's key, so that a line's chips keep their order."""
    product: str
    """The product whose active memory bank judges the chip."""
    captured_at: datetime
    """When the camera took the picture (UTC)."""
    verdict_by: datetime | None = None
    """Deadline of the verdict (UTC); past it a stage sheds the chip as UNINSPECTED(TOO_LATE)."""
    verdict: Verdict
    """PASS, REJECT, or UNINSPECTED where nothing could be judged; treat UNINSPECTED as a reject."""
    uninspected: Uninspected | None = None
    """Why, where the verdict is UNINSPECTED."""
    score: float | None = None
    """Image anomaly score; larger is more anomalous. Null where uninspected."""
    threshold: float | None = None
    """The score above which the chip is rejected."""
    defect_kind: str | None = None
    """What kind of known defect a rejected chip looks like most; null where none is known or the chip passed."""
    bank_version: str | None = None
    """Version of the memory bank that judged."""
    feature_space: str | None = None
    """Feature space it judged in."""
    engine: str | None = None
    """What made the features it was judged by: kind (openvino or tensorflow), version, precision and device; null
    in records of old, and where uninspected."""
    anomaly_map: AnomalyMap | None = None
    """Where the chip differs from normal, coarse."""
    mask: Mask | None = None
    """Pixels above the mask threshold; null where there is none."""
    regions: tuple[Region, ...] = ()
    """Anomalous regions, highest peak first."""
    image: ImagePointer | None = None
    """The picture this event is about; null only where it cannot be known."""
    inspected_at: datetime
    """When the verdict was made (UTC)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipRejected:
    """A chip that must leave the line: rejected, or uninspected."""

    SCHEMA: ClassVar[str] = "ChipRejected"

    event_id: str
    """Unique id of the picture's event, given once at the gateway; the same in every event about it."""
    chip_id: str
    """The chip's own id as the line knows it (serial number, tray position)."""
    line_id: str
    """The production line; also the record's key, so that a line's chips keep their order."""
    product: str
    """The product whose active memory bank judges the chip."""
    captured_at: datetime
    """When the camera took the picture (UTC)."""
    verdict_by: datetime | None = None
    """Deadline of the verdict (UTC); past it a stage sheds the chip as UNINSPECTED(TOO_LATE)."""
    verdict: Verdict
    """REJECT or UNINSPECTED."""
    uninspected: Uninspected | None = None
    """Why, where the verdict is UNINSPECTED."""
    score: float | None = None
    """Image anomaly score."""
    threshold: float | None = None
    """The score above which the chip is rejected."""
    defect_kind: str | None = None
    """What kind of known defect it looks like most; null where none is known."""
    bank_version: str | None = None
    """Version of the memory bank that judged."""
    regions: tuple[Region, ...] = ()
    """Anomalous regions, highest peak first."""
    image: ImagePointer | None = None
    """The picture this event is about; null only where it cannot be known."""
    rejected_at: datetime
    """When the reject was routed (UTC)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledChip:
    """A chip that a stage has dealt with."""

    digest: bytes
    """BLAKE2b, 16 bytes, of event_id, a zero byte and chip_id in UTF-8: an event id that two chips share does not
    cost one of them its verdict."""
    uninspected: bool
    """Whether the stage said UNINSPECTED; only such a chip may come again, by a replay of its dead letter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipsSettled:
    """The chips of one partition that a stage dealt with in one transaction, so that none is dealt with twice."""

    SCHEMA: ClassVar[str] = "ChipsSettled"

    stage: str
    """The stage: extractor or matcher; also the record's key."""
    chips: tuple[SettledChip, ...]
    """In the order they were dealt with."""
    settled_at: datetime
    """When (UTC)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """One record header."""

    name: str
    """Header name."""
    value: bytes | None = None
    """Header value, unchanged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A record that a stage could not process, whole, with where and why."""

    SCHEMA: ClassVar[str] = "DeadLetter"

    dead_letter_id: str
    """stage:topic:partition:offset of the failed record; unique."""
    stage: str
    """The stage that failed."""
    topic: str
    """Topic of the failed record."""
    partition: int
    """Its partition."""
    offset: int
    """Its offset."""
    key: bytes | None = None
    """Its key, unchanged."""
    value: bytes | None = None
    """Its value, unchanged."""
    headers: tuple[Header, ...] = ()
    """Its headers, unchanged and in order."""
    reason: UninspectedReason
    """Machine-readable cause."""
    error: str
    """Type of the error."""
    detail: str
    """Its message."""
    event_id: str
    """The chip's event, from payload or headers, else derived from the record's position."""
    chip_id: str
    """The chip."""
    line_id: str
    """The line; also the record's key."""
    product: str
    """The product."""
    failed_at: datetime
    """When it failed (UTC)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureGrid:
    """One layer's patch features, quantised to int8 per patch."""

    layer: str
    """Name of the recipe's layer."""
    height: int
    """Patches down."""
    width: int
    """Patches across."""
    channels: int
    """Features a patch."""
    values: bytes
    """int8, height x width x channels, row-major."""
    scales: bytes
    """Little-endian float32, height x width: feature = value x scale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeaturesExtracted:
    """Patch features of a chip's picture, or why there are none. A chip that could not be looked at still travels
    here, so that its verdict keeps its place in the line."""

    SCHEMA: ClassVar[str] = "FeaturesExtracted"

    event_id: str
    """Unique id of the picture's event, given once at the gateway; the same in every event about it."""
    chip_id: str
    """The chip's own id as the line knows it (serial number, tray position)."""
    line_id: str
    """The production line; also the record's key, so that a line's chips keep their order."""
    product: str
    """The product whose active memory bank judges the chip."""
    captured_at: datetime
    """When the camera took the picture (UTC)."""
    verdict_by: datetime | None = None
    """Deadline of the verdict (UTC); past it a stage sheds the chip as UNINSPECTED(TOO_LATE)."""
    image: ImagePointer | None = None
    """The picture this event is about; null only where it cannot be known."""
    width: int | None = None
    """Width of the original picture, pixels."""
    height: int | None = None
    """Height of the original picture, pixels."""
    feature_space: str | None = None
    """Id of the feature space; only features and banks of the same space may be compared."""
    engine: str | None = None
    """What made the features: its kind (openvino or tensorflow), version, precision and device; null in records of
    old."""
    grids: tuple[FeatureGrid, ...] = ()
    """One grid a layer of the recipe; empty where the chip is uninspected."""
    uninspected: Uninspected | None = None
    """Set where the chip could not be looked at; then there are no grids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageCaptured:
    """A camera took a picture of a chip."""

    SCHEMA: ClassVar[str] = "ImageCaptured"

    event_id: str
    """Unique id of the picture's event, given once at the gateway; the same in every event about it."""
    chip_id: str
    """The chip's own id as the line knows it (serial number, tray position)."""
    line_id: str
    """The production line; also the record's key, so that a line's chips keep their order."""
    product: str
    """The product whose active memory bank judges the chip."""
    captured_at: datetime
    """When the camera took the picture (UTC)."""
    verdict_by: datetime | None = None
    """Deadline of the verdict (UTC); past it a stage sheds the chip as UNINSPECTED(TOO_LATE)."""
    sha256: str
    """SHA-256 of the encoded picture, lower-case hex."""
    image_bytes: bytes | None = None
    """The encoded picture (JPEG, PNG, BMP, TIFF or WebP) where it travels inline."""
    image_uri: str | None = None
    """file:// address below the configured image root where it travels by reference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineObserved:
    """What the router has counted on a line, up to and including a chip; the latest of a line is all it needs to go
    on."""

    SCHEMA: ClassVar[str] = "LineObserved"

    line_id: str
    """The line; also the record's key."""
    event_id: str
    """Event of the chip observed last."""
    chip_id: str
    """The chip observed last."""
    product: str
    """Its product."""
    verdict: Verdict
    """What was decided about it."""
    seen: int
    """How many chips `rejects` holds."""
    rejects: bytes
    """Which of the latest chips were rejects: a big-endian integer, one bit a chip, the latest lowest."""
    streak: int
    """Uninspected chips in a row, up to this one."""
    burst_armed: bool
    """Whether a burst of rejects would raise an alert."""
    streak_armed: bool
    """Whether a streak of uninspected chips would raise an alert."""
    silence_armed: bool
    """Whether a silence of the line would raise an alert."""
    seen_at: datetime
    """When the router saw the chip (UTC)."""


Event = (
    AlertRaised
    | ChipInspected
    | ChipRejected
    | ChipsSettled
    | DeadLetter
    | FeaturesExtracted
    | ImageCaptured
    | LineObserved
)
