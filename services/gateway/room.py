"""So much room for all lines, which no line can fill: what one may take depends on what is left for the others."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from services.gateway.errors import GatewayBusy


class Room:
    """Room that the pictures of all lines share. For one event loop.

    A line gets more while what it then has is no more than was left: alone it has half of the room at most, two have a
    third each, and a line that comes later still finds some, whoever came before.

    Args:
        size: how much there is, in whatever is counted.
        unit: what is counted, for people.
        setting: the variable that sets the size.
    """

    def __init__(self, size: int, *, unit: str, setting: str) -> None:
        self._size = size
        self._unit = unit
        self._setting = setting
        self._taken = 0
        self._by_line: Counter[str] = Counter()

    def ask(self, line_id: str, amount: int) -> None:
        """Raise `GatewayBusy` where the line cannot have so much now."""
        if self._by_line[line_id] + amount > self._size - self._taken:
            raise GatewayBusy(
                f"{self._taken} of {self._size} {self._unit} are under way, {self._by_line[line_id]} of them of line "
                f"{line_id}, which may not have more than is left for the others: try again, or raise {self._setting}"
            )

    @contextmanager
    def place(self, line_id: str, amount: int) -> Iterator["Place"]:
        """So much of the room, as long as the context lasts. Raises `GatewayBusy`."""
        place = Place(self, line_id)
        try:
            place.hold(amount)
            yield place
        finally:
            self._take(line_id, -place.amount)

    def _take(self, line_id: str, amount: int) -> None:
        self._taken += amount
        self._by_line[line_id] += amount
        if not self._by_line[line_id]:
            del self._by_line[line_id]  # a sender that invents lines must not fill the memory


class Place:
    """What one picture has of the room."""

    def __init__(self, room: Room, line_id: str) -> None:
        self._room = room
        self._line_id = line_id
        self.amount = 0

    def hold(self, amount: int) -> None:
        """Have so much in all from now on, if it is more than before. Raises `GatewayBusy`."""
        more = amount - self.amount
        if more > 0:
            self._room.ask(self._line_id, more)
            self._room._take(self._line_id, more)
            self.amount = amount
