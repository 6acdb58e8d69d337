"""A network of one hidden layer that learns in numpy: a second or some to teach, and nothing that needs TensorFlow."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from shared.vision.patch_network import PatchNetwork

HIDDEN = 64  # units; 16 see less
DECAY = 1.0  # of weights, times the learning rate, every step: without it what is shown is learnt by heart
MOMENTS = 0.9, 0.999  # that gradients and their squares are remembered by, as usual for Adam
LARGEST_ODDS = 30.0  # of log-odds: beyond it their exponential says nothing more

_Parts: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


class SmallNetwork:
    """From features (P, C) to log-odds (P,), by Adam with decoupled decay (Loshchilov & Hutter 2019)."""

    def __init__(self, channels: int, random: np.random.Generator, decay: float = DECAY) -> None:
        self._numbers = np.concatenate(
            [
                random.standard_normal(channels * HIDDEN, np.float32) * np.float32(np.sqrt(2 / channels)),
                np.zeros(HIDDEN, np.float32),
                random.standard_normal(HIDDEN, np.float32) * np.float32(np.sqrt(1 / HIDDEN)),
                np.zeros(1, np.float32),
            ]
        )
        self.parts: _Parts = _views(self._numbers, channels)
        """Inward (C, H), biases (H,), outward (H, 1) and bias (1,): views that every step changes."""
        self._decay = np.concatenate(
            [np.full(part.size, decay if part.ndim > 1 else 0, np.float32) for part in self.parts]
        )
        self._mean, self._square = np.zeros_like(self._numbers), np.zeros_like(self._numbers)
        self._steps = 0

    def hidden(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(P, H) of features (P, C)."""
        inward, biases, _, _ = self.parts
        return np.maximum(features @ inward + biases, np.float32(0))  # type: ignore[no-any-return]  # numpy types a maximum as Any

    def log_odds(self, hidden: NDArray[np.float32]) -> NDArray[np.float32]:
        """(P,) of hidden units (P, H)."""
        _, _, outward, bias = self.parts
        return np.clip((hidden @ outward)[:, 0] + bias, -LARGEST_ODDS, LARGEST_ODDS)  # type: ignore[no-any-return]  # likewise

    def descend(
        self, features: NDArray[np.float32], hidden: NDArray[np.float32], miss: NDArray[np.float32], rate: float
    ) -> None:
        """One step.

        Args:
            features: (P, C).
            hidden: (P, H) that they led to.
            miss: (P,) slope of the loss by each patch's log-odds.
            rate: of learning.
        """
        _, _, outward, _ = self.parts
        back = (miss[:, None] @ outward.T) * (hidden > 0)
        slopes = features.T @ back, back.sum(axis=0), hidden.T @ miss[:, None], miss.sum(keepdims=True)
        gradient = np.concatenate([slope.ravel() for slope in slopes])
        self._steps += 1
        self._mean += np.float32(1 - MOMENTS[0]) * (gradient - self._mean)
        self._square += np.float32(1 - MOMENTS[1]) * (gradient**2 - self._square)
        slope = self._mean / np.float32(1 - MOMENTS[0] ** self._steps)
        slope /= np.sqrt(self._square / np.float32(1 - MOMENTS[1] ** self._steps)) + np.float32(1e-8)
        self._numbers -= np.float32(rate) * (slope + self._decay * self._numbers)  # in place, for the views' sake

    def of_unscaled(self, centre: NDArray[np.float32], scale: NDArray[np.float32]) -> PatchNetwork:
        """The same network for features that were standardised for it by (C,) means and deviations."""
        inward, biases, outward, bias = self.parts
        inward = inward / scale[:, None]
        return PatchNetwork(inward=inward, biases=biases - centre @ inward, outward=np.append(outward[:, 0], bias))


def cooled(rate: float, step: int, steps: int) -> float:
    """The learning rate of a step from 1 to `steps`: along half a cosine to none."""
    return float(rate * (1 + np.cos(np.pi * step / steps)) / 2)


def _views(numbers: NDArray[np.float32], channels: int) -> _Parts:
    ends = np.cumsum([channels * HIDDEN, HIDDEN, HIDDEN])
    inward, biases, outward, bias = np.split(numbers, ends)
    return inward.reshape(channels, HIDDEN), biases, outward[:, None], bias
