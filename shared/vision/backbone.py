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
from shared.vision.tensorflow_quietly import keras

_PICTURE_RANK = 4  # N, h, w, C


@dataclass(frozen=True, slots=True)
class Backbone:
    """A network and where it may be tapped."""

    model: keras.Model
    """Pixels, uint8 RGB (N, H, W, 3), to whatever the network was trained for; EfficientNet: logits (N, 1000)."""
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


def load_backbone(name: str, dtype: str = "float32") -> Backbone:
    """Build a network.

    Args:
        name: which one.
        dtype: Keras dtype policy to compute in; a network from a file keeps the one it was saved with.

    Raises:
        UnknownBackbone: no network of that name.
        BadCheckpoint: its weights are missing or damaged.
    """
    path = backbone_weights_path(name)
    weights_sha256 = backbone_weights_sha256(name)
    if name == EFFICIENTNET_LITE0:
        model, taps = build_efficientnet_lite0(read_checkpoint(path), dtype)
    else:
        model = _load_keras_model(path)
        taps = {layer.name: layer.output for layer in model.layers if len(layer.output.shape) == _PICTURE_RANK}
    return Backbone(model=model, taps=taps, weights_sha256=weights_sha256)


def _load_keras_model(path: Path) -> keras.Model:
    try:
        return keras.saving.load_model(path, compile=False)
    except (ValueError, TypeError, OSError) as error:
        raise BadCheckpoint(f"{path} is no Keras model that can be used: {error}; save it again") from error
