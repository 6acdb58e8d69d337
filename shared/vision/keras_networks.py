"""Keras's own networks, built to take uint8 RGB pixels as they come from a picture."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from shared.vision.errors import BadCheckpoint
from shared.vision.keras_applications import Application, Scaling
from shared.vision.tensorflow_quietly import keras

_IMAGENET_MEAN = np.array([0.485, 0.456, 0.406])  # of RGB from 0 to 1, over ImageNet's training pictures
_IMAGENET_DEVIATION = np.array([0.229, 0.224, 0.225])
_CAFFE_MEAN_BGR = np.array([103.939, 116.779, 123.68])  # as Caffe had it, blue first, 0 to 255
_SEED = 0


def build_application(
    application: Application, weights: Path | None, *, size: int | None = None, dtype: str = "float32"
) -> keras.Model:
    """A network without its classifier: uint8 RGB (N, size, size, 3) to (N, h, w, C).

    Args:
        application: which one.
        weights: its ImageNet weights; None leaves the weights that Keras draws.
        size: side of the pictures; None leaves it open.
        dtype: Keras dtype policy to compute in.

    Raises:
        BadCheckpoint: the weights file is damaged or another network's.
    """
    builder = getattr(keras.applications, application.name)
    pixels = keras.Input((size, size, 3), dtype="uint8", name="pixels")
    with _policy(dtype), _file_at_hand(builder, weights), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras notes that its weights were trained on 224 pixels
        try:
            return builder(
                include_top=False,
                weights="imagenet" if weights else None,
                input_tensor=_scaled(pixels, application.scaling),
                input_shape=None if size is None else (size, size, 3),
            )
        except (ValueError, OSError, KeyError) as error:
            if weights is None:
                raise
            raise BadCheckpoint(f"{weights} has no weights of {application.name}: {error}; restore the file") from error


def randomise(model: keras.Model) -> None:
    """Give a network weights that are always the same: kernels normal after He et al. (2015), the rest as it was."""
    random = np.random.default_rng(_SEED)
    values = []
    for value in model.get_weights():
        if value.ndim < 2:
            values.append(value)
            continue
        # A depthwise kernel (h, w, C, 1) sums over its window alone.
        window = value.shape[:2] if value.ndim == 4 and value.shape[-1] == 1 else value.shape[:-1]
        deviation = np.sqrt(2 / np.prod(window))
        values.append((random.standard_normal(value.shape) * deviation).astype(value.dtype))
    model.set_weights(values)


def _scaled(pixels: Any, scaling: Scaling) -> Any:
    match scaling:
        case "-1..1":
            return keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="scaled")(pixels)
        case "imagenet":
            scale, offset = 1 / (255 * _IMAGENET_DEVIATION), -_IMAGENET_MEAN / _IMAGENET_DEVIATION
            return keras.layers.Rescaling(scale.tolist(), offset=offset.tolist(), name="scaled")(pixels)
        case "bgr":
            backwards = keras.ops.flip(keras.ops.cast(pixels, "float32"), axis=-1)
            return keras.layers.Rescaling(1.0, offset=(-_CAFFE_MEAN_BGR).tolist(), name="scaled")(backwards)
        case "own":
            return keras.layers.Rescaling(1.0, name="scaled")(pixels)


@contextmanager
def _policy(dtype: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


@contextmanager
def _file_at_hand(builder: Any, weights: Path | None) -> Iterator[None]:
    """While it lasts, the builder's module finds its weights file at `weights`.

    Keras would download a file whose digest it does not like. And some networks are another graph with ImageNet weights
    than with any file's, so that they must be asked for by that name.
    """
    module = sys.modules[builder.__module__]
    theirs = module.file_utils
    module.file_utils = SimpleNamespace(get_file=lambda *_, **__: str(weights))  # type: ignore[attr-defined]
    try:
        yield
    finally:
        module.file_utils = theirs  # type: ignore[attr-defined]
