from dataclasses import dataclass
from enum import StrEnum

from shared.wire.records import from_record, to_record


class Colour(StrEnum):
    RED = "RED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    number: int
    colour: Colour


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    payload: bytes
    main: Part | None = None
    parts: tuple[Part, ...] = ()
    names: tuple[str, ...] = ()


WHOLE = Whole(
    payload=b"x", main=Part(number=1, colour=Colour.RED), parts=(Part(number=2, colour=Colour.RED),), names=("a",)
)
RECORD = {
    "payload": b"x",
    "main": {"number": 1, "colour": "RED"},
    "parts": [{"number": 2, "colour": "RED"}],
    "names": ["a"],
}


def test_nested_records_and_arrays_are_converted_both_ways():
    assert to_record(Whole)(WHOLE) == RECORD
    assert from_record(Whole)(RECORD) == WHOLE


def test_symbols_become_members_of_their_enum():
    assert from_record(Part)({"number": 1, "colour": "RED"}).colour is Colour.RED


def test_what_is_absent_stays_absent():
    record = to_record(Whole)(Whole(payload=b""))

    assert record == {"payload": b"", "main": None, "parts": [], "names": []}
    assert from_record(Whole)(record) == Whole(payload=b"")


def test_payloads_are_not_copied():
    payload = bytes(50_000)

    assert to_record(Whole)(Whole(payload=payload))["payload"] is payload
