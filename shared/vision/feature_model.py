"""The graph that every engine runs: pixels in, pooled patch features out, nothing after the last tap needed."""

import os

# Before TensorFlow is imported: it writes of CPU features and missing GPUs to standard error, whatever the log level.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

from shared.vision.backbone import load_backbone
from shared.vision.recipe import Recipe

DTYPES = {"f32": "float32", "bf16": "mixed_bfloat16"}
"""Keras dtype policy of a recipe's precision."""


def output_names(recipe: Recipe, input_size: int) -> dict[str, str]:
    """Name of the graph's output for each of the recipe's grids of one input size, by `Layer.name`."""
    return {layer.name: f"{layer.tap}_pool{layer.pool}" for layer in recipe.layers if layer.input_size == input_size}


def feature_model(recipe: Recipe, input_size: int, dtype: str) -> keras.Model:
    """uint8 RGB (N, input_size, input_size, 3) → {output name: float32 (N, h, w, C)}, for one of the recipe's sizes.

    The average over a pooling window counts only patches inside the grid, so that edges are not darkened by zeros.
    """
    backbone = load_backbone(recipe.backbone, dtype)
    outputs = {}
    for layer in recipe.layers:
        if layer.input_size == input_size:
            name = output_names(recipe, input_size)[layer.name]
            pool = keras.layers.AveragePooling2D(layer.pool, strides=1, padding="same", dtype="float32", name=name)
            outputs[name] = pool(backbone.tap(layer.tap))
    return keras.Model(backbone.model.inputs[0], outputs)
