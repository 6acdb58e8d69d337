"""New pictures of groups that a bundle knows: it learns them, and no promise can rest on them.

A picture's score counts where its group was held out. The banks have learnt from a known group already, and its further
pictures look more normal to them than the next part will. Tiles of 20 known parts, 300 beside the 100 that there were,
seemed to halve the rate that 20 parts can promise.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.trainer.promise.thresholds import HeldOut
from shared.bank.upkeep import Upkeep


@dataclass(frozen=True, slots=True)
class Counted:
    """Which normals the promises of an updated bundle rest on: the remembered ones, and new ones of new groups."""

    groups: tuple[str, ...] | None
    """(N + n,) of remembered and new normals; None where each stands for itself."""
    counts: NDArray[np.bool_]
    """(N + n,)."""

    @classmethod
    def of(cls, upkeep: Upkeep, groups: Sequence[str] | None, new: int) -> "Counted":
        """Sort them out.

        Args:
            upkeep: what the bundle remembers of N normals.
            groups: (n,) of the new ones; None where none are given.
            new: n.
        """
        old = len(upkeep.scores)
        if groups is None:
            return cls(None, np.ones(old + new, np.bool_))
        known = upkeep.groups or tuple(f"normal {index} before" for index in range(old))
        is_new = [group not in set(known) for group in groups]
        return cls((*known, *groups), np.array([True] * old + is_new))

    @property
    def all(self) -> bool:
        """Whether there is none that does not count."""
        return bool(self.counts.all())

    def held_out(self, values: NDArray[np.float32]) -> HeldOut:
        """Those of (N + n,) scores or peaks that count."""
        groups = self.groups
        chosen = tuple(groups[index] for index in np.flatnonzero(self.counts)) if groups else None
        return HeldOut(values[self.counts], chosen)

    def everyone(self, values: NDArray[np.float32]) -> HeldOut:
        """All of (N + n,) scores, as if they counted."""
        return HeldOut(values, self.groups)

    def warnings(self, names: Sequence[str]) -> list[str]:
        """A sentence where some do not count; `names` are of the n new pictures."""
        if self.all or self.groups is None:
            return []
        old = len(self.counts) - len(names)
        uncounted = np.flatnonzero(~self.counts)
        first = int(uncounted[0])
        sentence = (
            f"{len(uncounted)} of {len(names)} new pictures are of groups that the bundle knows, for instance "
            f"{names[first - old]} of {self.groups[first]}: it learns them, but the promises rest on the others alone, "
            "since no picture tells what the next group will be like once its own was learnt from"
        )
        return [sentence]
