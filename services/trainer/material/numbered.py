"""Groups told by the numbers of pictures: cameras number what they take, a part's pictures one after the other."""

import bisect
import re
from collections import Counter
from collections.abc import Sequence

from services.trainer.material.pictures import PictureFile, kind_of

TELLING = 0.9  # share of good pictures whose nearest number is of their own group: from here numbers tell groups
_LAST_NUMBER = re.compile(r"(\d+)\D*$")


class Numbered:
    """Good pictures by their numbers, a number being the last digits of a file's name."""

    def __init__(self, files: Sequence[PictureFile], groups: Sequence[str]) -> None:
        """Of pictures whose groups are known, each with its own."""
        self._sorted = sorted(
            (number, group) for file, group in zip(files, groups, strict=True) if (number := _number(file)) is not None
        )

    def tell(self) -> bool:
        """Whether these pictures' own numbers would tell most of their groups."""
        if not self._sorted:
            return False
        pairs = zip(self._sorted, [None, *self._sorted[:-1]], [*self._sorted[1:], None], strict=True)
        right = 0
        for (number, group), before, after in pairs:
            others = [other for other in (before, after) if other]
            right += bool(others) and min(others, key=lambda other: abs(other[0] - number))[1] == group
        return right >= TELLING * len(self._sorted)

    def also_number(self, defective: Sequence[PictureFile]) -> bool:
        """Whether the numbers of defective pictures are of the same row.

        A camera gives no number again to a picture of another part; folders that are numbered one by one do
        (``good/001.png``, ``crack/001.png``), and such numbers tell no groups.
        """
        good = {number for number, _ in self._sorted}
        numbers = [(_number(file), kind_of(file)) for file in defective]
        kinds = Counter(number for number, _ in set(numbers))
        again = sum(number is not None and (number in good or kinds[number] > 1) for number, _ in numbers)
        return again <= (1 - TELLING) * len(numbers)

    def group_of(self, file: PictureFile) -> str | None:
        """The group of the picture with the number next to this one's; None where there is no number."""
        number = _number(file)
        if number is None or not self._sorted:
            return None
        at = bisect.bisect(self._sorted, (number, ""))
        return min(self._sorted[max(at - 1, 0) : at + 1], key=lambda each: abs(each[0] - number))[1]


def _number(file: PictureFile) -> int | None:
    found = _LAST_NUMBER.search(file.path.stem)
    return int(found[1]) if found else None
