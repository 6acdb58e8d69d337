"""Bytes that a fuzzer chooses, as choices: hypothesis and atheris use the same targets by them."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Draw:
    """Takes choices from bytes, one after the other; zeros where they run out."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def integer(self, below: int) -> int:
        """A number from 0 to `below` - 1, at most 2^16 - 1."""
        found = self._take(2)
        return int.from_bytes(found, "big") % below

    def choice(self, among: Sequence[T]) -> T:
        """One of several."""
        return among[self.integer(len(among))]

    def some(self, most: int = 64) -> bytes:
        """A few bytes."""
        return self._take(self.integer(most + 1))

    def text(self, most: int = 64) -> str:
        """A few characters, any but surrogates."""
        return self.some(most).decode("utf-8", "replace")

    def rest(self) -> bytes:
        """All that is left."""
        return self._take(len(self._data) - self._at)

    def mutated(self, whole: bytes) -> bytes:
        """`whole` after a few accidents: bytes changed, cut out, doubled, or cut off."""
        data = bytearray(whole)
        for _ in range(self.integer(5)):
            at, length = self.integer(len(data) + 1), 1 + self.integer(16)
            match self.integer(5):
                case 0:
                    data[at : at + length] = self._take(length)
                case 1:
                    del data[at : at + length]
                case 2:
                    data[at:at] = data[at : at + length]
                case 3:
                    del data[at:]
                case _:
                    data[at : at + 1] = self.choice((b"\x00", b"\xff", b"\x80", b"\x7f", b"0", b"-", b"~"))
        return bytes(data)

    def _take(self, count: int) -> bytes:
        found = self._data[self._at : self._at + count]
        self._at += count
        return found.ljust(count, b"\0")
