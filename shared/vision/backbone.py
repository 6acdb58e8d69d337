"""Networks whose inner layers describe patches, by the names that `shared.vision.backbone_weights` explains.

Importing this imports TensorFlow; a process that only serves never does.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.vision.backbone_weights import EFFICIENTNET_LITE0, backbone_weights_path, backbone_weights_sha256
from shared.vision.checkpoint import read_checkpoint
from shared.vision.efficientnet_lite import build_efficientnet_lite0
from shared.vision.errors import BadCheckpoint, UnknownBackbone
from shared.vision.keras_applications import application_named, application_weights_path, is_application, is_random
from shared.vision.keras_networks import build_application, randomise
from shared.vision.saved_model import load_saved_model
from shared.vision.tensorflow_quietly import keras

_PICTURE_RANK = 4  # N, h, w, C


@dataclass(frozen=True, slots=True)
class Backbone:
    """A network and where it may be tapped."""

    model: keras.Model
    """Pixels, uint8 RGB (N, H, W, 3), to whatever the network was trained for; EfficientNet-Lite0: logits (N, 1000)."""
    taps: dict[str, Any]
    """Keras tensors (N, h, w, C) inside the model, by name."""
    weights_sha256: str
    """SHA-256 of the weights file, lower-case hex."""

    def tap(self, name: str) -> Any:
        """The tensor of a tap; `UnknownBackbone` where there is none of that name."""
        try:
            return self.taps[name]
        except KeyError:
            raise UnknownBackbone(
                f"the backbone {self.model.name} has no tap {name!r}; choose among {', '.join(self.taps)}"
            ) from None

    def grids(self, size: int) -> dict[str, tuple[int, int, int]]:
        """(h, w, C) of every tap for pictures of `size` pixels a side; of the network's own where it takes no other."""
        height, width = self.model.inputs[0].shape[1:3]
        pixels = keras.KerasTensor((1, height or size, width or size, 3), dtype=self.model.inputs[0].dtype)
        found = keras.Model(self.model.inputs[0], self.taps)(pixels)
        return {name: tuple(found[name].shape[1:]) for name in self.taps}


def load_backbone(name: str, dtype: str = "float32") -> Backbone:
    """Build a network.

    Args:
        name: which one.
        dtype: Keras dtype policy to compute in; a network from a file or folder keeps the one it was saved with.

    Raises:
        UnknownBackbone: no network of that name.
        BadCheckpoint: its weights are missing or damaged.
    """
    weights_sha256 = backbone_weights_sha256(name)
    if is_application(name):
        model = _application(name, dtype)
        return Backbone(model=model, taps=_layers(model), weights_sha256=weights_sha256)
    path = backbone_weights_path(name)
    if name == EFFICIENTNET_LITE0:
        model, taps = build_efficientnet_lite0(read_checkpoint(path), dtype)
    elif path.is_dir():
        model, taps = load_saved_model(path)
    else:
        model = _load_keras_model(path)
        taps = _layers(model)
    return Backbone(model=model, taps=taps, weights_sha256=weights_sha256)


def _application(name: str, dtype: str) -> keras.Model:
    weights = None if is_random(name) else application_weights_path(name)
    model = build_application(application_named(name), weights, dtype=dtype)
    if weights is None:
        randomise(model)
    return model


def _layers(model: keras.Model) -> dict[str, Any]:
    """The outputs of all layers that make pictures of pictures, by their names."""
    return {
        layer.name: layer.output
        for layer in model.layers
        if not isinstance(layer, keras.layers.InputLayer)
        and not isinstance(layer.output, list | dict)
        and len(layer.output.shape) == _PICTURE_RANK
    }


def _load_keras_model(path: Path) -> keras.Model:
    try:
        return keras.saving.load_model(path, compile=False)
    except (ValueError, TypeError, OSError) as error:
        raise BadCheckpoint(f"{path} is no Keras model that can be used: {error}; save it again") from error
