"""Teaching a network to tell patches that a drawn defect covers from those that none does.

No family of drawn defects need resemble a real one: what is learnt is what any of them does to the features of this
product's good pictures. Plain gradient descent in numpy: a second a network, and nothing that needs TensorFlow.
"""

from dataclasses import dataclass
from threading import Lock
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from services.trainer.cross_fit import LayerPatches
from shared.vision.patch_network import PatchNetwork

COVERED = 1.0  # mean change of a patch's pixels, grey levels of 255: from here a defect lies there
UNTOUCHED = 0.1  # likewise: up to here none does; patches between the two teach nothing
SOUND = 6  # untouched patches taught for each that is covered: more take time
HIDDEN = 64  # units; 16 see less
MINI_BATCH = 256  # patches
EPOCHS = 10  # three times as many learn the drawn defects by heart
FEWEST_STEPS, MOST_STEPS = 500, 2000  # mini-batches: fewer leave it half taught, more take time
LEARNING_RATE = 2e-3  # at first, then along half a cosine to none
DECAY = 1.0  # of weights, times the learning rate, every step: without it defects are learnt by heart too
MOMENTS = 0.9, 0.999  # that gradients and their squares are remembered by, as usual for Adam
STD_FLOOR = 1e-6
# The threads of BLAS that meet thousands of times a second wait for each other wherever a core is busy; and how many
# there may be is said for the whole process at once.
_ONE_AT_A_TIME = Lock()

_Network: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


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
    of_normals = normals.features(chosen).reshape(-1, channels)
    centre, scale = of_normals.mean(axis=0), np.maximum(of_normals.std(axis=0), np.float32(STD_FLOOR))
    values = drawn.patches.values[taught].reshape(-1, channels)[lessons]
    scales = drawn.patches.scales[taught].ravel()[lessons]
    features = (values * scales[:, None] - centre) / scale
    is_covered = np.arange(len(lessons)) < len(covered)
    with _ONE_AT_A_TIME, threadpool_limits(1):
        inward, biases, outward, bias = _fit(features.astype(np.float32), is_covered, random)
    inward = inward / scale[:, None]
    return PatchNetwork(inward=inward, biases=biases - centre @ inward, outward=np.append(outward[:, 0], bias))


def _fit(features: NDArray[np.float32], is_covered: NDArray[np.bool_], random: np.random.Generator) -> _Network:
    """By Adam with decoupled decay (Loshchilov & Hutter 2019) of the log loss, both truths weighing the same."""
    channels, covered = features.shape[1], int(is_covered.sum())
    balance = np.where(is_covered, np.float32((len(features) - covered) / max(covered, 1)), np.float32(1))
    numbers = np.concatenate(
        [
            random.standard_normal(channels * HIDDEN, np.float32) * np.float32(np.sqrt(2 / channels)),
            np.zeros(HIDDEN, np.float32),
            random.standard_normal(HIDDEN, np.float32) * np.float32(np.sqrt(1 / HIDDEN)),
            np.zeros(1, np.float32),
        ]
    )
    network = _parts(numbers, channels)
    decay = np.concatenate([np.full(part.size, DECAY if part.ndim > 1 else 0, np.float32) for part in network])
    mean, square = np.zeros_like(numbers), np.zeros_like(numbers)
    order, at = random.permutation(len(features)), 0
    steps = min(max(EPOCHS * len(features) // MINI_BATCH, FEWEST_STEPS), MOST_STEPS)
    for step in range(1, steps + 1):
        if at + MINI_BATCH > len(order):
            order, at = random.permutation(len(features)), 0
        batch = order[at : at + MINI_BATCH]
        at += MINI_BATCH
        gradient = _gradient(network, features[batch], is_covered[batch], balance[batch])
        mean += np.float32(1 - MOMENTS[0]) * (gradient - mean)
        square += np.float32(1 - MOMENTS[1]) * (gradient**2 - square)
        slope = mean / np.float32(1 - MOMENTS[0] ** step)
        slope /= np.sqrt(square / np.float32(1 - MOMENTS[1] ** step)) + np.float32(1e-8)
        rate = np.float32(LEARNING_RATE * (1 + np.cos(np.pi * step / steps)) / 2)
        numbers -= rate * (slope + decay * numbers)  # in place: the network's parts are views of it
    return network


def _parts(numbers: NDArray[np.float32], channels: int) -> _Network:
    """Views: inward (C, H), biases (H,), outward (H, 1), bias (1,)."""
    ends = np.cumsum([channels * HIDDEN, HIDDEN, HIDDEN])
    inward, biases, outward, bias = np.split(numbers, ends)
    return inward.reshape(channels, HIDDEN), biases, outward[:, None], bias


def _gradient(
    network: _Network, features: NDArray[np.float32], is_covered: NDArray[np.bool_], balance: NDArray[np.float32]
) -> NDArray[np.float32]:
    inward, biases, outward, bias = network
    hidden = np.maximum(features @ inward + biases, np.float32(0))
    odds = np.clip((hidden @ outward)[:, 0] + bias, -30, 30)
    miss = (1 / (1 + np.exp(-odds)) - is_covered).astype(np.float32) * balance / balance.sum()
    back = (miss[:, None] @ outward.T) * (hidden > 0)
    parts = features.T @ back, back.sum(axis=0), hidden.T @ miss[:, None], miss.sum(keepdims=True)
    return np.concatenate([part.ravel() for part in parts])
