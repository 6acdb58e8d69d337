from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.events import ChipInspected, ChipRejected, ImageCaptured, Verdict
from shared.identity import (
    EPOCH,
    IDS,
    MAX_ID_LENGTH,
    UNKNOWN,
    Identity,
    cut,
    from_headers,
    headers_of,
    identity_of,
    overlong,
    shortened,
    to_headers,
)
from tests.events_of_chips import identity, image_captured

NOW = datetime(2026, 11, 24, 16, 15, tzinfo=UTC)
NAME = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
INSTANT = st.integers(0, 4_000_000_000_000).map(lambda ms: EPOCH + timedelta(milliseconds=ms))


def read(headers, *, key: bytes | None = b"line-1") -> Identity:
    return from_headers(headers, key=key, position="images:3:17", timestamp=NOW)


@given(
    identity=st.builds(
        Identity,
        event_id=NAME,
        chip_id=NAME,
        line_id=NAME,
        product=NAME,
        captured_at=INSTANT,
        verdict_by=st.none() | INSTANT,
    )
)
def test_an_identity_comes_back_from_its_headers(identity: Identity):
    assert read(to_headers(identity)) == identity


@given(
    headers=st.lists(st.tuples(st.sampled_from(["event_id", "line_id", "captured_at", "x"]), st.binary() | st.none()))
)
def test_no_headers_are_too_broken_to_give_an_identity(headers: list[tuple[str, bytes | None]]):
    identity = read(headers)

    assert identity.event_id
    assert identity.line_id
    assert identity.captured_at.tzinfo is not None


@pytest.mark.parametrize("verdict", Verdict)
def test_a_verdict_is_in_the_headers_beside_the_identity(verdict: Verdict):
    about = identity(1)
    for event in (
        ChipInspected(**about.fields(), verdict=verdict, inspected_at=NOW),
        ChipRejected(**about.fields(), verdict=verdict, rejected_at=NOW),
    ):
        assert headers_of(event) == [*to_headers(about), ("verdict", verdict.value.encode())]


def test_what_decides_nothing_has_no_verdict_in_its_headers():
    event = image_captured(b"picture", 1)
    assert headers_of(event) == to_headers(identity_of(event))


def test_a_record_without_headers_is_known_by_its_key_and_place():
    assert read(None) == Identity(
        event_id="images:3:17", chip_id=UNKNOWN, line_id="line-1", product=UNKNOWN, captured_at=NOW
    )


def test_a_record_without_headers_and_key_belongs_to_an_unknown_line():
    assert read(None, key=None).line_id == UNKNOWN


def test_ids_of_any_length_come_out_short_and_apart():
    def ids(end: bytes) -> Identity:
        return read([(name, b"x" * 10_000 + end) for name in IDS], key=None)

    assert [len(getattr(ids(b""), name)) for name in IDS] == [MAX_ID_LENGTH] * 4
    assert ids(b"1") == ids(b"1") != ids(b"2")
    assert overlong(ids(b"")) == []


def test_a_long_key_names_a_line_in_short():
    assert len(read([], key=b"\xf0\x9f\x94\xa5" * 10_000).line_id) == MAX_ID_LENGTH


def test_an_id_that_is_just_short_enough_stays_as_it_is():
    given = Identity(
        event_id="e" * MAX_ID_LENGTH, chip_id="c" * (MAX_ID_LENGTH + 1), line_id="l", product="p", captured_at=NOW
    )

    assert overlong(given) == ["chip_id"]
    assert shortened(given).event_id == given.event_id
    assert shortened(shortened(given)) == shortened(given)


@pytest.mark.parametrize("name", IDS)
def test_each_id_that_is_too_long_is_cut_and_the_others_are_not(name: str):
    plain = Identity(event_id="e", chip_id="c", line_id="l", product="p", captured_at=NOW)
    given = replace(plain, **{name: "x" * (MAX_ID_LENGTH + 1)})
    assert shortened(given) == replace(plain, **{name: cut("x" * (MAX_ID_LENGTH + 1))})


@pytest.mark.parametrize("value", [b"", b"soon", b"9" * 30, b"\xff\xfe"])
def test_a_time_that_is_none_is_taken_from_the_record(value: bytes):
    assert read([("captured_at", value), ("verdict_by", value)]) == read(None)


def test_the_identity_of_an_event_is_in_its_payload():
    event = ImageCaptured(
        event_id="e", chip_id="c", line_id="l", product="p", captured_at=NOW, verdict_by=None, sha256="ab" * 32
    )

    assert identity_of(event) == Identity(event_id="e", chip_id="c", line_id="l", product="p", captured_at=NOW)


@pytest.mark.parametrize(("after_s", "late"), [(-1, False), (0, False), (1, True)])
def test_a_chip_is_late_once_its_deadline_has_passed(after_s: int, late: bool):
    identity = Identity(event_id="e", chip_id="c", line_id="l", product="p", captured_at=NOW, verdict_by=NOW)

    assert identity.is_late(NOW + timedelta(seconds=after_s)) is late


def test_a_chip_without_a_deadline_is_never_late():
    identity = Identity(event_id="e", chip_id="c", line_id="l", product="p", captured_at=NOW)

    assert not identity.is_late(datetime.max.replace(tzinfo=UTC))
