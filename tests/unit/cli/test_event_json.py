import base64
import hashlib
from datetime import UTC, datetime

from services.cli.event_json import INLINE_BYTES, plain, plain_bytes
from shared.events import Header, Region, UninspectedReason


def test_records_tuples_times_and_symbols_become_json():
    assert plain((Region(x=1, y=2, width=3, height=4, area=5, peak=0.5),)) == [
        {"x": 1, "y": 2, "width": 3, "height": 4, "area": 5, "peak": 0.5}
    ]
    assert plain(datetime(2026, 11, 24, 16, 15, 0, 123456, tzinfo=UTC)) == "2026-11-24T16:15:00.123+00:00"
    assert plain(UninspectedReason.TOO_LATE) == "TOO_LATE"
    assert plain(Header(name="chip_id", value=None)) == {"name": "chip_id", "value": None}


def test_short_bytes_are_shown_whole_and_as_text_where_they_are():
    assert plain_bytes(b"line-1") == {"bytes": 6, "base64": "bGluZS0x", "text": "line-1"}
    assert plain_bytes(b"\xff\xd8") == {"bytes": 2, "base64": "/9g="}
    assert plain_bytes(b"\x00\x01") == {"bytes": 2, "base64": "AAE="}


def test_long_bytes_are_shown_by_size_and_checksum():
    picture = bytes(range(256)) * 17

    assert plain_bytes(picture) == {"bytes": 4352, "sha256": hashlib.sha256(picture).hexdigest()}
    assert base64.b64decode(plain_bytes(picture[:INLINE_BYTES])["base64"]) == picture[:INLINE_BYTES]
