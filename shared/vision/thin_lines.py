"""Thin lines, dark or bright, told from pixels: a crack a pixel wide, which no inner layer of a backbone keeps.

Second derivatives of an elongated Gaussian in several directions answer to lines (ridge detection: Koller et al.,
"Multiscale detection of curvilinear structures", 1995; Lindeberg 1998). They look at the logarithm of brightness, so
that twice the exposure is the same line. A patch's answer is its strongest one. Parts have edges and grooves that
answer too, but always at the same places, and a layer's calibration takes every place by itself.

Part of the graph that engines run. Importing this imports TensorFlow; `LINE_TAPS` are in `shared.vision.recipe`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.vision.recipe import BRIGHT_LINES, DARK_LINES, LINE_CELL
from shared.vision.tensorflow_quietly import keras

# Whoever changes one of these changes what features mean: bump `PREPROCESSING` in `shared.vision.recipe` then, and
# `GRAPH` in `shared.vision.engines.conversion`, or graphs on disk go on as they were.
ACROSS, ALONG = 1.0, 4.0  # standard deviations of the Gaussian, pixels
REACH = 6  # pixels from a filter's centre to its edge
DIRECTIONS = 6
DARKEST = 16.0  # grey levels added before the logarithm, or noise in the dark would be the strongest line


def thin_lines(pixels: Any) -> dict[str, Any]:
    """How strong the strongest line is in each patch, by tap.

    Args:
        pixels: Keras tensor, RGB from 0 to 255, (N, H, W, 3); sides are multiples of `LINE_CELL`.

    Returns:
        Keras tensors (N, H / 16, W / 16, 1), float32, of the natural logarithm of brightness, one of each `LINE_TAPS`.
    """
    brightness = keras.ops.mean(keras.ops.cast(pixels, "float32"), axis=-1, keepdims=True)
    logarithm = keras.ops.log(brightness + DARKEST)
    # Mirrored at its edges: zeros around a picture would be the strongest line of all.
    padded = keras.ops.pad(logarithm, ((0, 0), (REACH, REACH), (REACH, REACH), (0, 0)), mode="reflect")
    answers = keras.ops.conv(padded, keras.ops.convert_to_tensor(filters()), padding="valid")
    found = {}
    for tap, signed in ((DARK_LINES, answers), (BRIGHT_LINES, -answers)):
        strongest = keras.ops.max(signed, axis=-1, keepdims=True)
        found[tap] = keras.ops.max_pool(strongest, LINE_CELL, strides=LINE_CELL, padding="valid")
    return found


def filters() -> NDArray[np.float32]:
    """(side, side, 1, `DIRECTIONS`): each sums to zero, its absolute values to one, and is largest on a dark line."""
    y, x = np.mgrid[-REACH : REACH + 1, -REACH : REACH + 1].astype(np.float64)
    found = []
    for angle in np.pi * np.arange(DIRECTIONS) / DIRECTIONS:
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        gaussian = np.exp(-((across / ACROSS) ** 2 + (along / ALONG) ** 2) / 2)
        second = ((across / ACROSS) ** 2 - 1) * gaussian
        second -= second.mean()
        found.append(second / np.abs(second).sum())
    return np.stack(found, axis=-1)[:, :, None].astype(np.float32)
