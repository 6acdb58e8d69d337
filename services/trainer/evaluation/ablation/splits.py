"""How pictures are divided into training and test, again and again.

A random split parts pictures of one part that was taken several times, and flatters whoever remembers it. A grouped one
keeps groups whole. Both test about a fifth, as far as whole groups can.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from services.trainer.errors import UnusableGroups
from services.trainer.evaluation.ablation.dataset import Dataset

Kind = Literal["random", "grouped"]

TEST_SHARE = 0.2
DRAWS = 200  # of groups; the draw that comes nearest to a fifth of good and defective alike is taken


@dataclass(frozen=True, slots=True)
class Split:
    """Training and test pictures, as indices into the dataset."""

    kind: Kind
    number: int
    train: NDArray[np.intp]
    test: NDArray[np.intp]

    @property
    def name(self) -> str:
        """For instance ``grouped-2``."""
        return f"{self.kind}-{self.number}"


def make_splits(dataset: Dataset, count: int, seed: int) -> tuple[Split, ...]:
    """`count` random splits and, where groups are known, as many grouped ones, or as there are different ones.

    The first do not depend on `count`.

    Raises:
        UnusableGroups: no choice of groups leaves good and defective pictures on both sides.
    """
    random = [_random_split(dataset, number, seed) for number in range(count)]
    return (*random, *(_grouped_splits(dataset, dataset.groups, count, seed) if dataset.groups else ()))


def _random_split(dataset: Dataset, number: int, seed: int) -> Split:
    random = np.random.default_rng([seed, number])
    tested = np.zeros(len(dataset), np.bool_)
    strata = np.array(dataset.strata)
    for stratum in sorted(set(dataset.strata)):
        members = random.permutation(np.flatnonzero(strata == stratum))
        tested[members[: _fifth(len(members))]] = True
    for truth in (False, True):  # kinds of one picture each leave a truth untested
        members = np.flatnonzero(dataset.defective == truth)
        if not tested[members].any():
            tested[random.choice(members, _fifth(len(members)), replace=False)] = True
    return Split("random", number, np.flatnonzero(~tested), np.flatnonzero(tested))


def _grouped_splits(dataset: Dataset, groups: Sequence[str], count: int, seed: int) -> list[Split]:
    """No two alike: of few groups the draw that comes nearest to a fifth is always the same one."""
    names, group_of = np.unique(np.array(groups), return_inverse=True)
    good = np.bincount(group_of[~dataset.defective], minlength=len(names))
    bad = np.bincount(group_of[dataset.defective], minlength=len(names))
    splits: list[Split] = []
    taken: set[frozenset[int]] = set()
    for number in range(count):
        chosen = _nearest_to_a_fifth(good, bad, taken, np.random.default_rng([seed, number, 1]))
        if chosen is None:
            break
        taken.add(chosen)
        tested = np.isin(group_of, list(chosen))
        splits.append(Split("grouped", number, np.flatnonzero(~tested), np.flatnonzero(tested)))
    if not splits:
        raise UnusableGroups(
            f"the {len(names)} groups cannot be split so that good and defective pictures are on both sides: "
            "give finer groups, or none"
        )
    return splits


def _nearest_to_a_fifth(
    good: NDArray[np.intp], bad: NDArray[np.intp], taken: set[frozenset[int]], random: np.random.Generator
) -> frozenset[int] | None:
    """Groups to test that are not `taken`, by each one's (G,) good and defective pictures; None where none is found."""
    best: tuple[float, frozenset[int]] | None = None
    for _ in range(DRAWS):
        order = random.permutation(len(good))
        shares = np.stack([np.cumsum(each[order]) / each.sum() for each in (good, bad)])
        misses = np.abs(shares - TEST_SHARE).sum(axis=0)
        misses[((shares <= 0) | (shares >= 1)).any(axis=0)] = np.inf
        cut = int(misses.argmin())
        chosen = frozenset(order[: cut + 1].tolist())
        if np.isfinite(misses[cut]) and (best is None or misses[cut] < best[0]) and chosen not in taken:
            best = (float(misses[cut]), chosen)
    return best and best[1]


def _fifth(count: int) -> int:
    return round(count * TEST_SHARE) if count > 2 else 0
