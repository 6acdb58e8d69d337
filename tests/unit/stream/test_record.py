from datetime import UTC, datetime
from typing import Any

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_NOT_AVAILABLE

from shared.stream.record import Output, Received
from shared.stream.step import Source
from tests.events_of_chips import NOON
from tests.unit.stream.doubles import MessageDouble


class StrangeMessage(MessageDouble):
    """A record that other clients may send, as ours returns it."""

    def __init__(self, *, headers: Any = None, time: tuple[int, int] = (TIMESTAMP_CREATE_TIME, 0)) -> None:
        super().__init__(2, 7, b"value", b"key")
        self._headers = headers
        self._time = time

    def headers(self) -> Any:
        if isinstance(self._headers, Exception):
            raise self._headers
        return self._headers

    def timestamp(self) -> tuple[int, int]:
        return self._time


def test_a_header_that_cannot_be_read_costs_the_headers_alone():
    unreadable = SystemError("returned a result with an exception set")
    received = Received.from_message(StrangeMessage(headers=unreadable))
    assert received == Received(Source("images", 2, 7), b"key", b"value", (), datetime(1970, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    "time",
    [
        (TIMESTAMP_CREATE_TIME, -62_135_596_800_001),
        (TIMESTAMP_CREATE_TIME, -(2**63)),
        (TIMESTAMP_CREATE_TIME, 2**63 - 1),
        (TIMESTAMP_NOT_AVAILABLE, 0),
    ],
    ids=["before the year 1", "least", "greatest", "none"],
)
def test_a_time_that_is_none_is_now(time: tuple[int, int]):
    before = datetime.now(UTC)
    assert before <= Received.from_message(StrangeMessage(time=time)).timestamp <= datetime.now(UTC)


@pytest.mark.parametrize("milliseconds", [-62_135_596_800_000, -1, 0, 253_402_300_799_999])
def test_any_time_from_the_year_1_to_9999_is_kept(milliseconds: int):
    received = Received.from_message(StrangeMessage(time=(TIMESTAMP_CREATE_TIME, milliseconds)))
    assert round(received.timestamp.timestamp() * 1000) == milliseconds


def test_what_a_record_holds_in_memory_counts_its_key_and_headers():
    plain = Received(Source("images", 0, 0), None, b"value", (), NOON)
    headed = Received(Source("images", 0, 0), b"k" * 1000, b"value", (("name", b"v" * 1000), ("none", None)), NOON)
    assert headed.size - plain.size >= 2000 + len("name") + len("none")


@pytest.mark.parametrize("part", ["key", "value", "name", "text"])
def test_every_part_of_a_record_counts_for_its_size(part: str):
    def sizes(*, key: bytes = b"", value: bytes = b"", name: str = "", text: bytes = b"") -> tuple[int, int]:
        place, headers = Source("images", 0, 0), [(name, text)]
        produced = Output("images", 0, key, value, headers, place)
        return produced.size, Received(place, key, value, tuple(headers), NOON).size

    large = sizes(**{part: "n" * 1000 if part == "name" else bytes(1000)})
    assert min(sizes()) > 0
    assert large == tuple(empty + 1000 for empty in sizes())
