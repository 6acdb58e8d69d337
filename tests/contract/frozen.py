"""The schemas as they were released, and a record written with each."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FROZEN = Path(__file__).with_name("released")
GOLDEN = Path(__file__).with_name("golden")


@dataclass(frozen=True)
class Released:
    event: str
    number: int
    schema: dict[str, Any]
    golden: bytes
    """The example of the event as it was written then, without the wire format's prefix."""

    def __str__(self) -> str:
        return f"{self.event}.{self.number}"


def released(event: str) -> list[Released]:
    """Versions of an event's schema, oldest first."""
    numbers = sorted(int(path.suffixes[-2][1:]) for path in FROZEN.glob(f"{event}.*.avsc"))
    return [
        Released(
            event,
            number,
            json.loads((FROZEN / f"{event}.{number}.avsc").read_text()),
            bytes.fromhex((GOLDEN / f"{event}.{number}.hex").read_text()),
        )
        for number in numbers
    ]
