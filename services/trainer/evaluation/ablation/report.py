"""What the study found, and of what."""

from dataclasses import dataclass
from pathlib import Path

from services.trainer.evaluation.ablation.dataset import LeftOut
from services.trainer.evaluation.ablation.origin import Origin
from services.trainer.evaluation.ablation.results import Line
from services.trainer.material.picture_features import Unreadable


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that there is to show."""

    lines: tuple[Line, ...]
    """One at least."""
    good: int
    """Pictures compared, as are those of `kinds`."""
    kinds: dict[str, int]
    """Defective pictures by kind."""
    found: int
    """Pictures that could have been compared; a quick study takes some."""
    left_out: LeftOut
    groups: int | None
    normal: tuple[Path, ...]
    abnormal: Path
    groups_file: Path | None
    seed: int
    quick: bool
    minutes: float
    """After which networks stop training."""
    origin: Origin

    @property
    def defective(self) -> int:
        """Pictures compared."""
        return sum(self.kinds.values())

    @property
    def splits(self) -> dict[str, int]:
        """How many of each kind."""
        return {line.kind: len(line.results) for line in self.lines}

    @property
    def families(self) -> set[str]:
        """Of rows that were compared."""
        return {line.row.family for line in self.lines}

    @property
    def measured(self) -> tuple[str, str]:
        """When the first and the last figure were measured, ISO 8601 in UTC."""
        times = [result.measured_at for line in self.lines for result in line.results]
        return min(times), max(times)

    @property
    def unreadable(self) -> tuple[Unreadable, ...]:
        """Files that could not be read."""
        return tuple(Unreadable(legible(each.name), legible(each.why)) for each in self.left_out.unreadable)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Of copies that were left out."""
        return tuple(legible(sentence) for sentence in self.left_out.warnings)


def legible(name: object) -> str:
    r"""A name as text that every file can hold: a byte that is no UTF-8 becomes ``\udcff``, for instance."""
    return str(name).encode(errors="backslashreplace").decode()
