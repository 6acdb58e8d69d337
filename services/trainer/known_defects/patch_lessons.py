"""Learning where known defects lie: from pictures that only say that there is one, and from masks where there are any.

A picture is as defective as its most suspicious patches: every step takes some good and some defective pictures, and
pulls these patches' log-odds towards what the picture is. Good pictures' most suspicious patches are what teaches most.
Beside what a patch is, the network sees how it deviates from its picture's mean.
Mirrored copies teach as well: defects are few, and run in any direction.
A mask parts a picture in two: within it the most suspicious patches teach what is defective, and outside of it what is
not. Outside, the part is the same: what it is otherwise known by teaches nothing.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from services.trainer.known_defects.head import SCALE_FLOOR
from services.trainer.known_defects.places import DEFECTIVE, SOUND, UNTOLD, Places
from services.trainer.material.turned import TURNS, Turned, turned
from services.trainer.normality.small_network import LARGEST_ODDS, SmallNetwork, cooled
from shared.events import FeatureGrid
from shared.vision.calibration import top_count
from shared.vision.head import described_layers
from shared.vision.inspection import layer_patches
from shared.vision.patch_head import on_one_grid
from shared.vision.recipe import Recipe

SIDE = 16  # patches a side, or as many as the finest grid has
TOP = 0.02  # of the patches: those that make a picture defective
# At first many teach: a network that knows nothing yet would pick some patches by chance, and learn those by heart.
FIRST_TOP, NARROW_BY = 0.5, 0.5  # share of patches at first, share of the steps by which it has shrunk to TOP
AT_ONCE = 8  # pictures of either truth a step
FEWEST_STEPS, MOST_STEPS = 1000, 1500  # on tiles split by part half as many cost .04, twice as many gain none
STEPS_A_PICTURE = 1.6
LEARNING_RATE = 5e-3
# Of weights, ten times as much as drawn defects need: parts are few, and a network soon knows each by heart.
DECAY = 10.0
# Deviations from the picture's mean are shown this large beside patches of unit size. As large as these they double
# what a step changes, and little material is learnt by heart: on made-up patches two of four networks find nothing.
DEVIATIONS = np.float32(0.5)
# Standardised patches are held as whole numbers of a twelfth, up to ten deviations: half of what float16 takes, float32
# again in a third of the time, and no more noise than the features' own quantisation.
UNIT, MOST_UNITS = np.float32(1 / 12), 127
MAX_LESSONS = 2000  # of either truth, mirrored copies included: their patches are held in memory, half a gigabyte or so
CHUNK = 32  # pictures whose patches are held as float32


@dataclass(frozen=True, eq=False)
class PatchLessons:
    """Pictures that may teach, and mirrored copies of them."""

    patches: NDArray[np.int8]
    """(n, P, C) standardised, in units of `UNIT`."""
    places: NDArray[np.int8]
    """(n, P) what each patch is known to be (`services.trainer.known_defects.places`)."""
    defective: NDArray[np.bool_]
    """(n,)."""
    shown: NDArray[np.intp]
    """(n,) which of the pictures shown each is, or is a copy of."""
    side: int
    """Of the grid, patches."""
    centre: NDArray[np.float32]
    """(C,) mean of normals' features."""
    scale: NDArray[np.float32]
    """(C,) their standard deviation."""
    deviation_scale: NDArray[np.float32]
    """(C,) what deviations are divided by: of a normal's standardised patches around their mean, they come to
    `DEVIATIONS`."""

    @property
    def in_units(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(2 C,) means and deviations by which `patches`, as they are held, become the network's inputs."""
        return np.zeros(2 * len(self.centre), np.float32), np.append(
            np.ones_like(self.centre), self.deviation_scale
        ) / UNIT

    @property
    def unscaled(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(2 C,) means and deviations by which features become the network's inputs."""
        return np.append(self.centre, np.zeros_like(self.centre)), np.append(
            self.scale, self.scale * self.deviation_scale
        )

    @classmethod
    def of(
        cls,
        grids_per_chip: Sequence[tuple[FeatureGrid, ...]],
        recipe: Recipe,
        defective: NDArray[np.bool_],
        *,
        places: Places,
        look_at_turned: Turned,
        seed: int,
    ) -> "PatchLessons":
        """Of the N pictures shown, and of their mirrored copies, as many as may teach.

        Args:
            grids_per_chip: theirs.
            recipe: its layers are looked at.
            defective: (N,) which of them are.
            places: what is known of their patches.
            look_at_turned: looks at the copies.
            seed: of who teaches, where they are many.
        """
        random = np.random.default_rng(seed)
        side = min(SIDE, max(grid.height for grid in grids_per_chip[0]))
        as_they_are, copied, turns = _choose(defective, random)
        normals = as_they_are[~defective[as_they_are]]
        centre, scale, spread = _standards(_looked_at(grids_per_chip, normals, recipe, side))
        shown = np.concatenate([as_they_are, copied])
        patches = np.empty((len(shown), side * side, len(centre)), np.int8)
        done = 0
        for some in chain(
            _looked_at(grids_per_chip, as_they_are, recipe, side),
            (patches_on_one_grid(grids, recipe, side) for grids in look_at_turned(copied, turns)),
        ):
            units = np.rint((some - centre) / (scale * UNIT))
            patches[done : done + len(some)] = np.clip(units, -MOST_UNITS, MOST_UNITS)
            done += len(some)
        as_shown = places(side)
        known = [
            *as_shown[as_they_are],
            *(turned(as_shown[picture], turn) for picture, turn in zip(copied, turns, strict=True)),
        ]
        return cls(
            patches=patches,
            places=np.stack(known).reshape(len(shown), -1),
            defective=defective[shown],
            shown=shown,
            side=side,
            centre=centre,
            scale=scale,
            deviation_scale=spread / (scale * DEVIATIONS),
        )

    def teach(self, may_teach: NDArray[np.bool_], seed: int) -> SmallNetwork:
        """A network for standardised features, taught by those of the pictures shown (N,) that may. Deterministic."""
        random = np.random.default_rng(seed)
        network = SmallNetwork(2 * len(self.centre), random, DECAY)
        normals, abnormals = (
            np.flatnonzero(may_teach[self.shown] & (self.defective == truth)) for truth in (False, True)
        )
        steps = int(np.clip(STEPS_A_PICTURE * (len(normals) + len(abnormals)), FEWEST_STEPS, MOST_STEPS))
        for step in range(1, steps + 1):
            batch = np.concatenate([random.choice(normals, AT_ONCE), random.choice(abnormals, AT_ONCE)])
            patches = self.patches[batch].astype(np.float32)
            odds = network.of_unscaled(*self.in_units).log_odds_with_deviations(patches)
            count = top_count(odds.shape[1], _narrowing(step / steps))
            means = patches.mean(axis=1)
            features, misses = [], []
            for picture, index in enumerate(batch):
                for suspicious, truth in _most_suspicious(odds[picture], self.places[index], count):
                    seen = patches[picture, suspicious]
                    features.append(np.hstack([seen, (seen - means[picture]) / self.deviation_scale]))
                    answer = np.clip(odds[picture, suspicious].mean(), -LARGEST_ODDS, LARGEST_ODDS)
                    miss = (1 / (1 + np.exp(-answer)) - truth) / (len(suspicious) * len(batch))
                    misses.append(np.full(len(suspicious), miss, np.float32))
            shown = UNIT * np.concatenate(features)
            network.descend(shown, network.hidden(shown), np.concatenate(misses), cooled(LEARNING_RATE, step, steps))
        return network


def _choose(
    defective: NDArray[np.bool_], random: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Which pictures teach as they are, and which teach mirrored, and how: as many as may, drawn by lot."""
    chosen = []
    for truth in (False, True):  # as large a share of either is mirrored, or being mirrored would be learnt
        members = np.flatnonzero(defective == truth)
        lots = np.sort(random.permutation((1 + TURNS) * len(members))[:MAX_LESSONS])
        chosen.append(np.stack([members[lots // (1 + TURNS)], lots % (1 + TURNS)]))
    pictures, views = np.concatenate(chosen, axis=1)
    is_copy = views > 0
    return pictures[~is_copy], pictures[is_copy], views[is_copy] - 1


def _most_suspicious(
    odds: NDArray[np.float32], places: NDArray[np.int8], count: int
) -> Iterator[tuple[NDArray[np.intp], bool]]:
    """The patches of one picture that teach, up to `count` of either truth, and whether they are to look defective.

    They are the most suspicious ones of those (P,) that are sound, of those that are defective, or of all where it
    does not tell.
    """
    for known, truth in ((SOUND, False), (UNTOLD, True), (DEFECTIVE, True)):
        among = np.flatnonzero(places == known)
        if len(among):
            yield among[np.argpartition(-odds[among], min(count, len(among)) - 1)[:count]], truth


def _narrowing(done: float) -> float:
    """The share of patches that teaches after a share of all steps: from `FIRST_TOP`, by half of them at `TOP`."""
    return float(FIRST_TOP * (TOP / FIRST_TOP) ** min(1.0, done / NARROW_BY))


def _looked_at(
    grids_per_chip: Sequence[tuple[FeatureGrid, ...]], pictures: NDArray[np.intp], recipe: Recipe, side: int
) -> Iterator[NDArray[np.float32]]:
    """The pictures' patches, some pictures at a time."""
    for start in range(0, len(pictures), CHUNK):
        yield patches_on_one_grid([grids_per_chip[index] for index in pictures[start : start + CHUNK]], recipe, side)


def _standards(
    normals: Iterable[NDArray[np.float32]],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """(C,) of normals' patches, (n, P, C) at a time: mean, deviation, and deviation around the picture's own mean."""
    means, within = [], []
    for patches in normals:
        means.append(patches.mean(axis=1))
        within.append(patches.var(axis=1))
    of_pictures, variance = np.concatenate(means), np.concatenate(within).mean(axis=0)
    scale = np.maximum(np.sqrt(variance + of_pictures.var(axis=0)), np.float32(SCALE_FLOOR))
    spread = np.maximum(np.sqrt(variance), np.float32(SCALE_FLOOR) * scale)
    return of_pictures.mean(axis=0), scale, spread


def patches_on_one_grid(
    grids_per_chip: Sequence[tuple[FeatureGrid, ...]], recipe: Recipe, side: int
) -> NDArray[np.float32]:
    """(N, P, C) of all layers on one grid."""
    return on_one_grid([layer_patches(grids_per_chip, layer).features for layer in described_layers(recipe)], side)
