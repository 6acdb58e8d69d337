"""SavedModels as backbones: their serving function, and where it may be tapped."""

from pathlib import Path
from typing import Any

from shared.vision.errors import BadCheckpoint
from shared.vision.tensorflow_quietly import keras, tf

_PICTURE_RANK = 4  # N, h, w, C
SIGNATURE = "serving_default"
# What only hands a tensor on is no tap.
_NO_TAPS = {"Cast", "Const", "Identity", "NoOp", "Placeholder", "Reshape", "Shape"}
_CALL = "StatefulPartitionedCall"


def load_saved_model(path: Path) -> tuple[keras.Model, dict[str, Any]]:
    """A SavedModel as a Keras model of its taps: pixels, uint8 RGB (N, H, W, 3), to (N, h, w, C) by tap.

    Taps are the operations of the serving function that make pictures of a batch, named by their path in the graph
    with dots, for instance ``block1_relu.Relu``. Weights are frozen, and computed in float32.

    Raises:
        BadCheckpoint: it cannot be loaded, or has no serving function from one batch of pictures.
    """
    # Not public, and the one way to find tensors inside a serving function.
    from tensorflow.python.framework.convert_to_constants import (  # noqa: PLC0415
        convert_variables_to_constants_v2,
    )

    try:
        loaded = tf.saved_model.load(str(path))  # holds the variables until they are frozen
        function = loaded.signatures[SIGNATURE]
    except (KeyError, OSError, ValueError) as error:
        raise BadCheckpoint(f"{path} is no SavedModel with a {SIGNATURE} function: {error}; export it again") from error
    inputs = [tensor for tensor in function.inputs if tensor.dtype != tf.resource]
    if len(inputs) != 1 or inputs[0].shape.rank != _PICTURE_RANK or inputs[0].shape[-1] != 3:
        shapes = ", ".join(str(tensor.shape) for tensor in inputs)
        raise BadCheckpoint(f"{path} does not take one batch of RGB pictures but {shapes}: export a function that does")
    graph = convert_variables_to_constants_v2(function).graph
    feed = next(op.outputs[0] for op in graph.get_operations() if op.type == "Placeholder")
    taps = _taps(graph)
    if not taps:
        raise BadCheckpoint(f"nothing inside {path} has the shape of pictures: export a convolutional network")
    definition = graph.as_graph_def()
    wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(definition, name=""), [])
    pruned = wrapped.prune(
        wrapped.graph.get_tensor_by_name(feed.name),
        {tap: wrapped.graph.get_tensor_by_name(name) for tap, name in taps.items()},
    )
    pixels = keras.Input(tuple(feed.shape[1:]), dtype="uint8", name="pixels")
    outputs = _Frozen(pruned, feed.dtype)(pixels)
    return keras.Model(pixels, outputs, name=path.name.replace("/", "_") or "saved_model"), outputs


class _Frozen(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """A pruned graph as a Keras layer."""

    def __init__(self, function: Any, dtype: Any) -> None:
        super().__init__(name="frozen", dtype="float32", autocast=False)
        self._function = function
        self._input_dtype = dtype

    def call(self, pixels: Any) -> Any:
        """Keras's name for running it."""
        return self._function(tf.cast(pixels, self._input_dtype))


def _taps(graph: Any) -> dict[str, str]:
    """Tensor names by tap, in the graph's order."""
    taps = {}
    for operation in graph.get_operations():
        for output in operation.outputs[:1]:
            shape = output.shape
            # A constant of four dimensions, such as a kernel, has no open batch.
            is_picture = shape.rank == _PICTURE_RANK and shape[0] is None and output.dtype.is_floating
            if is_picture and operation.type not in _NO_TAPS:
                parts = operation.name.split("/")
                taps[".".join(parts[1:] if parts[0] == _CALL else parts)] = output.name
    return taps
