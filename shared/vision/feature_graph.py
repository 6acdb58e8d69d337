"""The graph that every engine runs: pixels in, pooled patch features out, nothing after the last tap needed."""

from typing import Any

from shared.vision.backbone import load_backbone
from shared.vision.engine import output_names
from shared.vision.errors import UnknownBackbone
from shared.vision.recipe import LINE_TAPS, Recipe
from shared.vision.tensorflow_quietly import keras, tf
from shared.vision.thin_lines import thin_lines

DTYPES = {"f32": "float32", "bf16": "mixed_bfloat16"}
"""Keras dtype policy of a recipe's precision."""


def build_feature_graph(recipe: Recipe, input_size: int, dtype: str) -> Any:
    """A concrete TensorFlow function for those of the recipe's layers that read one input size.

    It maps uint8 RGB (N, input_size, input_size, 3) to float32 (N, h, w, C) by `output_names`. It is traced
    here, once, for any N. The average over a pooling window counts only patches inside the grid: edges are
    not dimmed by zeros around it.

    Raises:
        UnknownBackbone: no such backbone or tap, or it takes pictures of another size.
    """
    backbone = load_backbone(recipe.backbone, dtype)
    own_size = backbone.model.inputs[0].shape[1:3]
    if any(side not in {None, input_size} for side in own_size):
        raise UnknownBackbone(
            f"{recipe.backbone} takes pictures of {own_size[0]} x {own_size[1]} pixels alone, the recipe asks for "
            f"{input_size}: change the input size of its layers"
        )
    names = output_names(recipe, input_size)
    pixels = backbone.model.inputs[0]
    lines = thin_lines(pixels) if any(layer.tap in LINE_TAPS for layer in recipe.layers) else {}
    outputs = {}
    for layer in recipe.layers:
        if layer.name in names:
            name = names[layer.name]
            pool = keras.layers.AveragePooling2D(layer.pool, strides=1, padding="same", dtype="float32", name=name)
            outputs[name] = pool(lines[layer.tap] if layer.tap in lines else backbone.tap(layer.tap))
    model = keras.Model(pixels, outputs)
    signature = [tf.TensorSpec((None, input_size, input_size, 3), tf.uint8, name="pixels")]
    function = tf.function(lambda pixels: model(pixels, training=False), input_signature=signature)
    return function.get_concrete_function()
