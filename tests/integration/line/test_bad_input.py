"""Whatever comes in, its chip gets one UNINSPECTED verdict and one dead letter, and its neighbours do not notice."""

import dataclasses
import hashlib
import struct
import uuid

import pytest

from shared.events import ChipInspected, DeadLetter, UninspectedReason, Verdict
from shared.identity import UNKNOWN, identity_of, to_headers
from tests.bad_pictures import bad_pictures
from tests.integration.line.conftest import RunningLine, captured, good_chip

BAD_PICTURES = bad_pictures()
GOOD = good_chip()
# The Confluent wire format's magic byte and a schema id that no registry has given out.
UNKNOWN_SCHEMA = struct.pack(">BI", 0, 2_000_000_000) + b"avro"


@pytest.fixture
def line_id() -> str:
    """A line of the test's own."""
    return f"line-{uuid.uuid4().hex[:8]}"


def between_good_chips(line: RunningLine, line_id: str, send_bad: object) -> tuple[ChipInspected, DeadLetter]:
    """Send a good chip, the bad one, a good chip; the bad one's verdict and dead letter, the others' judged as ever."""
    first, last = captured(line_id, GOOD), captured(line_id, GOOD)
    line.send(first)
    send_bad()
    line.send(last)
    verdicts = line.verdicts(line_id, 3)
    assert [verdict.event_id for verdict in (verdicts[0], verdicts[2])] == [first.event_id, last.event_id]
    assert verdicts[0].verdict != Verdict.UNINSPECTED
    assert (verdicts[0].verdict, verdicts[0].score) == (verdicts[2].verdict, pytest.approx(verdicts[2].score, abs=1e-3))
    letters = line.dead_letters(line_id, 1)
    assert (len(verdicts), len(letters)) == (3, 1)
    return verdicts[1], letters[0]


@pytest.mark.parametrize("name", BAD_PICTURES)
def test_a_bad_picture_is_uninspected(line: RunningLine, line_id: str, name: str) -> None:
    picture, reason = BAD_PICTURES[name]
    bad = captured(line_id, picture)
    verdict, letter = between_good_chips(line, line_id, lambda: line.send(bad))
    assert (verdict.event_id, verdict.verdict, verdict.uninspected.reason) == (
        bad.event_id,
        Verdict.UNINSPECTED,
        reason,
    )
    assert (letter.event_id, letter.stage, letter.reason) == (bad.event_id, "extractor", reason)
    assert letter.value == line.codec.encode(bad)
    assert [reject.verdict for reject in line.rejects(line_id, 1) if reject.event_id == bad.event_id] == ["UNINSPECTED"]


def test_an_unknown_product_is_uninspected(line: RunningLine, line_id: str) -> None:
    bad = captured(line_id, GOOD, product="never-trained")
    verdict, letter = between_good_chips(line, line_id, lambda: line.send(bad))
    assert verdict.uninspected.reason == letter.reason == UninspectedReason.UNKNOWN_PRODUCT
    assert "never-trained" in verdict.uninspected.detail


def test_a_missing_referenced_file_is_uninspected(line: RunningLine, line_id: str) -> None:
    bad = captured(line_id, GOOD, image_bytes=None, image_uri=(line.image_root / "gone.png").as_uri())
    verdict, letter = between_good_chips(line, line_id, lambda: line.send(bad))
    assert verdict.uninspected.reason == letter.reason == UninspectedReason.IMAGE_UNAVAILABLE


def test_a_reference_outside_the_root_is_uninspected(line: RunningLine, line_id: str) -> None:
    (line.image_root.parent / "outside.png").write_bytes(GOOD)
    uri = f"{line.image_root.as_uri()}/../outside.png"
    bad = captured(line_id, GOOD, image_bytes=None, image_uri=uri)
    verdict, letter = between_good_chips(line, line_id, lambda: line.send(bad))
    assert verdict.uninspected.reason == letter.reason == UninspectedReason.IMAGE_UNAVAILABLE
    assert "outside the image root" in verdict.uninspected.detail


def test_a_referenced_file_is_judged_like_an_inline_one(line: RunningLine, line_id: str) -> None:
    (line.image_root / "good.png").write_bytes(GOOD)
    line.send(captured(line_id, GOOD))
    line.send(captured(line_id, GOOD, image_bytes=None, image_uri=(line.image_root / "good.png").as_uri()))
    inline, referenced = line.verdicts(line_id, 2)
    assert referenced.score == pytest.approx(inline.score, abs=1e-3)


def test_another_picture_than_was_captured_is_uninspected(line: RunningLine, line_id: str) -> None:
    bad = captured(line_id, GOOD, sha256=hashlib.sha256(b"another").hexdigest())
    verdict, letter = between_good_chips(line, line_id, lambda: line.send(bad))
    assert verdict.uninspected.reason == letter.reason == UninspectedReason.IMAGE_UNAVAILABLE


@pytest.mark.parametrize(
    ("topic", "stage"), [("images", "extractor"), ("features", "matcher")], ids=["on images", "on features"]
)
@pytest.mark.parametrize(
    "value", [b"\xde\xad\xbe\xef" * 8, UNKNOWN_SCHEMA, b""], ids=["garbage", "unknown schema", "empty"]
)
def test_a_record_that_is_no_event_is_uninspected(
    line: RunningLine, line_id: str, topic: str, stage: str, value: bytes
) -> None:
    chip = captured(line_id, GOOD)
    headers = to_headers(identity_of(chip))
    line.send_bytes(topic, value, key=line_id, headers=headers)
    (verdict,) = line.verdicts(line_id, 1)
    (letter,) = line.dead_letters(line_id, 1)
    assert (verdict.event_id, verdict.uninspected.reason) == (chip.event_id, UninspectedReason.MALFORMED_RECORD)
    assert (letter.event_id, letter.stage, letter.value) == (chip.event_id, stage, value)
    assert [(header.name, header.value) for header in letter.headers] == headers


@pytest.mark.parametrize("value", [b"\xde\xad\xbe\xef" * 8, UNKNOWN_SCHEMA], ids=["garbage", "unknown schema"])
def test_a_verdict_that_is_no_event_is_rejected_as_uninspected(line: RunningLine, line_id: str, value: bytes) -> None:
    chip = captured(line_id, GOOD)
    line.send_bytes("inspections", value, key=line_id, headers=to_headers(identity_of(chip)))
    (reject,) = line.rejects(line_id, 1)
    (letter,) = line.dead_letters(line_id, 1)
    assert (reject.event_id, reject.verdict) == (chip.event_id, Verdict.UNINSPECTED)
    assert (letter.stage, letter.reason) == ("router", UninspectedReason.MALFORMED_RECORD)


def test_a_record_without_headers_still_belongs_to_its_line(line: RunningLine, line_id: str) -> None:
    line.send_bytes("images", b"garbage without headers", key=line_id, headers=None)
    (verdict,) = line.verdicts(line_id, 1)
    (letter,) = line.dead_letters(line_id, 1)
    assert (verdict.verdict, verdict.chip_id, verdict.product) == (Verdict.UNINSPECTED, UNKNOWN, UNKNOWN)
    assert verdict.event_id == letter.event_id == f"{letter.topic}:{letter.partition}:{letter.offset}"


def test_a_good_record_without_headers_is_judged(line: RunningLine, line_id: str) -> None:
    chip = captured(line_id, GOOD)
    line.send_bytes("images", line.codec.encode(chip), key=line_id, headers=None)
    (verdict,) = line.verdicts(line_id, 1)
    assert (verdict.event_id, verdict.chip_id) == (chip.event_id, chip.chip_id)
    assert verdict.verdict != Verdict.UNINSPECTED


def test_features_of_an_unknown_space_are_uninspected(line: RunningLine, line_id: str) -> None:
    line.send(captured(line_id, GOOD))
    (features,) = line.features(line_id, 1)
    alien = dataclasses.replace(features, event_id=str(uuid.uuid4()), feature_space="0123456789abcdef")
    line.send(alien)
    _, verdict = line.verdicts(line_id, 2)
    (letter,) = line.dead_letters(line_id, 1)
    assert (verdict.event_id, verdict.verdict) == (alien.event_id, Verdict.UNINSPECTED)
    assert verdict.uninspected.reason == letter.reason == UninspectedReason.UNKNOWN_FEATURE_SPACE


def test_grids_that_do_not_fit_the_bank_are_uninspected(line: RunningLine, line_id: str) -> None:
    line.send(captured(line_id, GOOD))
    (features,) = line.features(line_id, 1)
    cut = tuple(dataclasses.replace(grid, values=grid.values[:-7]) for grid in features.grids)
    broken = dataclasses.replace(features, event_id=str(uuid.uuid4()), grids=cut)
    line.send(broken)
    _, verdict = line.verdicts(line_id, 2)
    (letter,) = line.dead_letters(line_id, 1)
    assert (verdict.event_id, verdict.verdict, letter.stage) == (broken.event_id, Verdict.UNINSPECTED, "matcher")
    assert verdict.uninspected.reason == letter.reason == UninspectedReason.MALFORMED_RECORD


def test_a_late_chip_is_uninspected_without_a_dead_letter(line: RunningLine, line_id: str) -> None:
    chip = captured(line_id, GOOD)
    late = dataclasses.replace(captured(line_id, GOOD), verdict_by=chip.captured_at)
    line.send(late)
    line.send(chip)
    verdicts = line.verdicts(line_id, 2)
    assert [verdict.event_id for verdict in verdicts] == [late.event_id, chip.event_id]
    assert verdicts[0].uninspected.reason == UninspectedReason.TOO_LATE
    assert verdicts[1].verdict != Verdict.UNINSPECTED
    assert not [letter for letter in line.out["dead-letters"] if letter.line_id == line_id]
