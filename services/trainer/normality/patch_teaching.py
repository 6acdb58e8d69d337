"""Teaching a network to tell patches that a drawn defect covers from those that none does.

No family of drawn defects need resemble a real one: what is learnt is what any of them does to the features of this
product's good pictures.
"""

from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from services.trainer.normality.cross_fit import LayerPatches
from services.trainer.normality.small_network import SmallNetwork, cooled
from shared.vision.patch_network import PatchNetwork

COVERED = 1.0  # mean change of a patch's pixels, grey levels of 255: from here a defect lies there
UNTOUCHED = 0.1  # likewise: up to here none does; patches between the two teach nothing
SOUND = 6  # untouched patches taught for each that is covered: more take time
MINI_BATCH = 256  # patches
EPOCHS = 10  # three times as many learn the drawn defects by heart
FEWEST_STEPS, MOST_STEPS = 500, 2000  # mini-batches: fewer leave it half taught, more take time
LEARNING_RATE = 2e-3  # at first, then along half a cosine to none
STD_FLOOR = 1e-6
# The threads of BLAS that meet thousands of times a second wait for each other wherever a core is busy; and how many
# there may be is said for the whole process at once. Nor do the float32 features of all normals lie in memory twice.
_ONE_AT_A_TIME = Lock()


@dataclass(frozen=True, eq=False)
class Drawn:
    """Copies of normals with a defect drawn into each, as one layer sees them."""

    patches: LayerPatches
    """Of S copies."""
    change: NDArray[np.float32]
    """(S, h, w) mean change of each patch's pixels, grey levels of 255."""


def teach(
    drawn: Drawn, taught: NDArray[np.bool_], normals: LayerPatches, chosen: NDArray[np.bool_], *, seed: int
) -> PatchNetwork:
    """A network for one layer. Deterministic by `seed`.

    Args:
        drawn: S copies with defects.
        taught: (S,) which of them teach.
        normals: N good pictures, by whose patches features are standardised.
        chosen: (N,) which of them.
        seed: of the first weights, of the sound patches that are taught, and of their order.
    """
    random = np.random.default_rng(seed)
    change = drawn.change[taught].ravel()
    covered = np.flatnonzero(change > COVERED)
    sound = random.permutation(np.flatnonzero(change <= UNTOUCHED))[: max(SOUND * len(covered), MINI_BATCH)]
    lessons = np.concatenate([covered, sound])
    channels = drawn.patches.values.shape[-1]
    values = drawn.patches.values[taught].reshape(-1, channels)[lessons]
    scales = drawn.patches.scales[taught].ravel()[lessons]
    is_covered = np.arange(len(lessons)) < len(covered)
    with _ONE_AT_A_TIME, threadpool_limits(1):
        centre, scale = _centre_and_scale(normals.features(chosen).reshape(-1, channels))
        features = (values * scales[:, None] - centre) / scale
        network = _fit(features.astype(np.float32), is_covered, random)
    return network.of_unscaled(centre, scale)


def _centre_and_scale(of_normals: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(C,) each, of (P, C)."""
    return of_normals.mean(axis=0), np.maximum(of_normals.std(axis=0), np.float32(STD_FLOOR))


def _fit(features: NDArray[np.float32], is_covered: NDArray[np.bool_], random: np.random.Generator) -> SmallNetwork:
    """By the log loss, both truths weighing the same."""
    covered = int(is_covered.sum())
    balance = np.where(is_covered, np.float32((len(features) - covered) / max(covered, 1)), np.float32(1))
    network = SmallNetwork(features.shape[1], random)
    order, at = random.permutation(len(features)), 0
    steps = min(max(EPOCHS * len(features) // MINI_BATCH, FEWEST_STEPS), MOST_STEPS)
    for step in range(1, steps + 1):
        if at + MINI_BATCH > len(order):
            order, at = random.permutation(len(features)), 0
        batch = order[at : at + MINI_BATCH]
        at += MINI_BATCH
        hidden = network.hidden(features[batch])
        share = balance[batch] / balance[batch].sum()
        miss = (1 / (1 + np.exp(-network.log_odds(hidden))) - is_covered[batch]).astype(np.float32) * share
        network.descend(features[batch], hidden, miss, cooled(LEARNING_RATE, step, steps))
    return network
