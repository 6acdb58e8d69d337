import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.capture import capture, capture_by_reference, identify
from services.gateway.errors import ChecksumMismatch, InvalidIdentity, OutsideRoot, OversizeImage
from shared.identity import MAX_ID_LENGTH, Identity, from_headers, to_headers

PICTURE = b"the encoded picture"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def identity() -> Identity:
    return identify(line_id="line-1", product="qfn32", chip_id="c1", event_id="e1", captured_at=NOON)


def test_an_inline_capture_carries_the_bytes_and_their_sha256() -> None:
    event = capture(identity(), PICTURE, max_image_bytes=100)
    assert event.image_bytes == PICTURE
    assert event.image_uri is None
    assert event.sha256 == hashlib.sha256(PICTURE).hexdigest()
    assert (event.event_id, event.chip_id, event.line_id, event.product) == ("e1", "c1", "line-1", "qfn32")


def test_a_picture_of_the_limit_goes_inline_and_one_byte_more_does_not() -> None:
    assert capture(identity(), PICTURE, max_image_bytes=len(PICTURE)).image_bytes == PICTURE
    with pytest.raises(OversizeImage, match=r"the limit is 18 bytes.*by reference"):
        capture(identity(), PICTURE, max_image_bytes=len(PICTURE) - 1)


def test_the_senders_sha256_is_held_against_the_bytes_in_either_case() -> None:
    sha256 = hashlib.sha256(PICTURE).hexdigest()
    assert capture(identity(), PICTURE, max_image_bytes=100, expected_sha256=sha256.upper()).sha256 == sha256
    with pytest.raises(ChecksumMismatch, match="send again"):
        capture(identity(), PICTURE + b"!", max_image_bytes=100, expected_sha256=sha256)


def test_every_picture_gets_an_event_id_of_its_own_where_none_is_given() -> None:
    one, other = (identify(line_id="line-1", product="qfn32", chip_id="c1") for _ in range(2))
    assert one.event_id != other.event_id


@pytest.mark.parametrize(
    ("line_id", "said"),
    [("", "empty"), ("  ", "empty"), (" line", "spaces"), ("a\nb", "printable"), ("x" * 501, "501 characters")],
)
def test_an_id_that_nobody_could_read_is_refused(line_id: str, said: str) -> None:
    with pytest.raises(InvalidIdentity, match=f"line.*{said}"):
        identify(line_id=line_id, product="qfn32", chip_id="c1")


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=MAX_ID_LENGTH))
def test_every_accepted_id_survives_the_headers(chip_id: str) -> None:
    given_identity = identify(line_id="line-1", product="qfn32", chip_id=chip_id, captured_at=NOON)
    assert from_headers(to_headers(given_identity), key=None, position="p", timestamp=NOON) == given_identity


def test_a_deadline_in_milliseconds_counts_from_the_picture() -> None:
    by = identify(line_id="l", product="p", chip_id="c", captured_at=NOON, deadline_ms=250).verdict_by
    assert by == NOON + timedelta(milliseconds=250)


def test_times_are_cut_to_the_milliseconds_that_the_schema_carries() -> None:
    fine = NOON.replace(microsecond=123_456)
    cut = identify(line_id="l", product="p", chip_id="c", captured_at=fine, verdict_by=fine)
    assert cut.captured_at == cut.verdict_by == NOON.replace(microsecond=123_000)


def test_two_deadlines_contradict_each_other() -> None:
    with pytest.raises(InvalidIdentity, match="keep one"):
        identify(line_id="l", product="p", chip_id="c", verdict_by=NOON, deadline_ms=250)


@pytest.mark.parametrize("deadline_ms", [0, -1, 10**18])
def test_a_deadline_that_cannot_be_meant_is_refused(deadline_ms: int) -> None:
    with pytest.raises(InvalidIdentity, match="deadline_ms"):
        identify(line_id="l", product="p", chip_id="c", deadline_ms=deadline_ms)


def test_a_picture_from_the_far_future_is_refused() -> None:
    with pytest.raises(InvalidIdentity, match="captured_at is 9999"):
        identify(line_id="l", product="p", chip_id="c", captured_at=datetime.max.replace(tzinfo=UTC), deadline_ms=250)


def test_a_reference_is_the_files_address_and_sha256(tmp_path: Path) -> None:
    path = tmp_path / "line 1" / "chip ü#1.png"
    path.parent.mkdir()
    path.write_bytes(PICTURE)
    event = capture_by_reference(identity(), path, root=tmp_path)
    assert event.image_bytes is None
    assert event.image_uri is not None
    assert Path(unquote(urlsplit(event.image_uri).path)) == path.resolve()
    assert event.sha256 == hashlib.sha256(PICTURE).hexdigest()


def test_no_reference_leads_out_of_the_root_not_even_by_a_link(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "secret.png"
    root.mkdir()
    outside.write_bytes(PICTURE)
    (root / "link.png").symlink_to(outside)
    for path in (outside, root / ".." / "secret.png", root / "link.png"):
        with pytest.raises(OutsideRoot, match="outside the image root"):
            capture_by_reference(identity(), path, root=root)
