"""EfficientNet-Lite0 as a Keras model (Tan & Le 2019, arXiv:1905.11946; Lite: no squeeze-and-excite, ReLU6).

Batch normalisation is folded into the convolutions before it, in float64: inference needs no other form, and every
engine then starts from the same weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.vision.tensorflow_quietly import keras

BATCH_NORM_EPSILON = 1e-3

Weights = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class _Stage:
    """Blocks of one shape; the first of them strides."""

    blocks: int
    kernel: int
    stride: int
    expand: int
    filters: int


# Table 1 of the paper; width and depth multipliers are 1 in Lite0.
_STAGES = (
    _Stage(blocks=1, kernel=3, stride=1, expand=1, filters=16),
    _Stage(blocks=2, kernel=3, stride=2, expand=6, filters=24),
    _Stage(blocks=2, kernel=5, stride=2, expand=6, filters=40),
    _Stage(blocks=3, kernel=3, stride=2, expand=6, filters=80),
    _Stage(blocks=3, kernel=5, stride=1, expand=6, filters=112),
    _Stage(blocks=4, kernel=5, stride=2, expand=6, filters=192),
    _Stage(blocks=1, kernel=3, stride=1, expand=6, filters=320),
)


def build_efficientnet_lite0(weights: Weights, dtype: str) -> tuple[keras.Model, dict[str, Any]]:
    """The network and its taps.

    Args:
        weights: the tensors of the PyTorch checkpoint, by their names there.
        dtype: Keras dtype policy to compute in, for instance ``float32`` or ``mixed_bfloat16``.

    Returns:
        The model, uint8 RGB (N, H, W, 3) → logits (N, 1000), and the outputs of its blocks, ``b0`` to ``b15``.
    """
    layers = _Layers(weights, dtype)
    pixels = keras.Input((None, None, 3), dtype="uint8", name="pixels")
    # The network was trained on (pixel - 127) / 128.
    x = keras.layers.Rescaling(1 / 128, offset=-127 / 128, dtype=dtype, name="rescale")(pixels)
    x = layers.conv(x, "_conv_stem", "_bn0", stride=2)
    taps: dict[str, Any] = {}
    for stage in _STAGES:
        for repeat in range(stage.blocks):
            index = len(taps)
            x = layers.block(x, f"_blocks.{index}", stage, stride=stage.stride if repeat == 0 else 1)
            taps[f"b{index}"] = x
    x = layers.conv(x, "_conv_head", "_bn1")
    x = keras.layers.GlobalAveragePooling2D(dtype=dtype, name="pool")(x)
    logits = layers.dense(x, "_fc")
    model = keras.Model(pixels, logits, name="efficientnet_lite0")
    layers.load()
    return model, taps


class _Layers:
    """Makes layers and remembers the weights that each will hold once the model is built."""

    def __init__(self, weights: Weights, dtype: str) -> None:
        self._weights = weights
        self._dtype = dtype
        self._pending: list[tuple[keras.Layer, list[NDArray[np.float32]]]] = []

    def load(self) -> None:
        for layer, values in self._pending:
            layer.set_weights(values)

    def block(self, x: Any, name: str, stage: _Stage, stride: int) -> Any:
        """An inverted bottleneck: expand, filter each channel, project, and add where the shape stays."""
        inputs, channels = x, x.shape[-1]
        if stage.expand != 1:
            x = self.conv(x, f"{name}._expand_conv", f"{name}._bn0")
        x = self.depthwise(x, f"{name}._depthwise_conv", f"{name}._bn1", stage.kernel, stride)
        x = self.conv(x, f"{name}._project_conv", f"{name}._bn2", activation=None)
        if stride == 1 and channels == stage.filters:
            x = keras.layers.Add(dtype=self._dtype, name=_layer_name(f"{name}._add"))([x, inputs])
        return x

    def conv(self, x: Any, name: str, norm: str, *, stride: int = 1, activation: str | None = "relu6") -> Any:
        scale, shift = self._batch_norm(norm)
        kernel = self._weights[f"{name}.weight"] * scale[:, None, None, None]  # out, in, height, width
        layer = keras.layers.Conv2D(
            kernel.shape[0],
            kernel.shape[2:],
            strides=stride,
            padding="same",
            activation=activation,
            dtype=self._dtype,
            name=_layer_name(name),
        )
        return self._add(layer, x, kernel.transpose(2, 3, 1, 0), shift)

    def depthwise(self, x: Any, name: str, norm: str, size: int, stride: int) -> Any:
        scale, shift = self._batch_norm(norm)
        kernel = self._weights[f"{name}.weight"] * scale[:, None, None, None]  # channel, 1, height, width
        layer = keras.layers.DepthwiseConv2D(
            size, strides=stride, padding="same", activation="relu6", dtype=self._dtype, name=_layer_name(name)
        )
        return self._add(layer, x, kernel.transpose(2, 3, 0, 1), shift)

    def dense(self, x: Any, name: str) -> Any:
        kernel, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        layer = keras.layers.Dense(bias.shape[0], dtype=self._dtype, name=_layer_name(name))
        return self._add(layer, x, kernel.T, bias)

    def _add(self, layer: keras.Layer, x: Any, kernel: NDArray[Any], bias: NDArray[Any]) -> Any:
        self._pending.append((layer, [kernel.astype(np.float32), bias.astype(np.float32)]))
        return layer(x)

    def _batch_norm(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scale and shift, one a channel, that inference-time batch normalisation comes to."""
        gamma, beta, mean, variance = (
            self._weights[f"{name}.{part}"].astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
        return scale, beta - mean * scale


def _layer_name(checkpoint_name: str) -> str:
    return checkpoint_name.replace("_blocks.", "b").replace("._", "_").lstrip("_")
