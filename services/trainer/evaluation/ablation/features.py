"""What all rows share, computed once and kept on disk: patch features of the backbone, and small pictures."""

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
from numpy.lib.format import dtype_to_descr, write_array_header_1_0
from numpy.typing import NDArray

from services.trainer.errors import TrainingError
from services.trainer.evaluation.ablation.dataset import Dataset
from services.trainer.evaluation.outputs import told
from services.trainer.material.pictures import PictureFile
from services.trainer.normality.cross_fit import LayerPatches
from services.trainer.progress import Progress
from shared.vision.backbone_weights import backbone_weights_path, backbone_weights_sha256
from shared.vision.checkpoint import read_checkpoint
from shared.vision.engine import Engine
from shared.vision.engines.loading import load_engine
from shared.vision.errors import PictureError
from shared.vision.extraction import extract
from shared.vision.picture import Picture, decode, resize
from shared.vision.recipe import Layer, Recipe

MIDDLE, BEFORE_LAST, LAST = Layer(tap="b12"), Layer(tap="b14"), Layer(tap="b15", pool=1)
EARLY, TRUNK = Layer(tap="b4", pool=1), Layer(tap="b10", pool=1)
RECIPE = Recipe(layers=(EARLY, TRUNK, MIDDLE, BEFORE_LAST, LAST))
"""All that any row reads of the backbone, at 256 pixels; pool 1 where the row pools itself."""

PIXELS = 128  # side of the pictures that networks are trained on at most: two CPU cores learn nothing from larger ones
TIMED = 20  # pictures, one at a time, of which the median is taken
BATCH = 16
_COMPLETE = "complete.json"

Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class Features:
    """Of all pictures of a data set."""

    folder: Path
    """Holds ``pixels.npy``, and ``values-TAP.npy`` and ``scales-TAP.npy`` a layer."""
    ms_per_image: float
    """Resizing and backbone, one picture at a time on one thread."""

    def patches(self, layer: Layer) -> LayerPatches:
        """A layer's int8 features of all pictures."""
        return LayerPatches(
            np.load(self.folder / f"values-{layer.tap}.npy"), np.load(self.folder / f"scales-{layer.tap}.npy")
        )

    def grids(self, layer: Layer) -> NDArray[np.float32]:
        """(N, h, w, C) float32."""
        patches = self.patches(layer)
        return patches.features(np.ones(len(patches.values), np.bool_))


def compute_features(dataset: Dataset, cache: Path, progress: Progress) -> Features:
    """The features of all pictures, from the cache where it has them.

    Raises:
        TrainingError: a picture cannot be read any more.
        UnwritableOutput: the cache cannot be written.
    """
    space = RECIPE.feature_space(backbone_weights_sha256(RECIPE.backbone))
    folder = cache / f"{dataset.fingerprint()}-{space}-{PIXELS}"
    if not (folder / _COMPLETE).exists():
        engine = load_engine("openvino", RECIPE)
        with told("features", cache):
            cache.mkdir(parents=True, exist_ok=True)
            making = Path(tempfile.mkdtemp(dir=cache, prefix=".making-"))
            try:
                _make(dataset, making, engine, progress)
                making.rename(folder)
            finally:
                shutil.rmtree(making, ignore_errors=True)
    known = json.loads((folder / _COMPLETE).read_text(encoding="utf-8"))
    return Features(folder, known["ms_per_image"])


def milliseconds(work: Callable[[Item], object], items: Iterable[Item]) -> float:
    """The median time that it takes for one of them."""
    times = []
    for item in items:
        started = time.perf_counter()
        work(item)
        times.append(time.perf_counter() - started)
    return 1000 * float(np.median(times))


def backbone_parameters() -> int:
    """Weights and folded biases up to the backbone's last block, which classical rows and detectors rely on."""
    weights = read_checkpoint(backbone_weights_path(RECIPE.backbone))
    kernels = [
        array
        for name, array in weights.items()
        if name.startswith(("_conv_stem", "_blocks")) and name.endswith(".weight") and array.ndim == 4
    ]
    return sum(kernel.size + len(kernel) for kernel in kernels)


def _make(dataset: Dataset, folder: Path, engine: Engine, progress: Progress) -> None:
    timed: list[Picture] = []
    with ExitStack() as files:
        arrays = _Arrays(folder, len(dataset), files)
        for start in range(0, len(dataset), BATCH):
            pictures = [_read(file) for file in dataset.files[start : start + BATCH]]
            timed += pictures[: TIMED - len(timed)]
            _append(arrays, pictures, engine)
            progress("computing features", start + len(pictures), len(dataset))
    (folder / _COMPLETE).write_text(json.dumps({"ms_per_image": _milliseconds(timed)}), encoding="utf-8")


class _Arrays:
    """Arrays on disk that grow from the top.

    Written, not mapped into memory: where the disk is full, that is an error that can be told. Of a mapped file the
    system tells by a signal, which ends the process.
    """

    def __init__(self, folder: Path, total: int, files: ExitStack) -> None:
        """Of `total` rows each in the end; `files` closes them."""
        self._folder = folder
        self._total = total
        self._stack = files
        self._files: dict[str, BinaryIO] = {}

    def append(self, name: str, values: NDArray[np.generic]) -> None:
        """A batch's rows."""
        if name not in self._files:
            file = self._stack.enter_context((self._folder / f"{name}.npy").open("wb"))
            shape = (self._total, *values.shape[1:])
            write_array_header_1_0(
                file, {"descr": dtype_to_descr(values.dtype), "fortran_order": False, "shape": shape}
            )
            self._files[name] = file
        self._files[name].write(values.tobytes())


def _append(arrays: _Arrays, pictures: list[Picture], engine: Engine) -> None:
    arrays.append("pixels", np.stack([resize(picture, PIXELS) for picture in pictures]))
    grids_of = extract(pictures, RECIPE, engine)
    for position, layer in enumerate(RECIPE.layers):
        patches = LayerPatches.of([(grids[position],) for grids in grids_of], layer)
        arrays.append(f"values-{layer.tap}", patches.values)
        arrays.append(f"scales-{layer.tap}", patches.scales)


def _milliseconds(pictures: list[Picture]) -> float:
    engine = load_engine("openvino", RECIPE, threads=1)
    extract(pictures[:1], RECIPE, engine)  # warms up
    return milliseconds(lambda picture: extract([picture], RECIPE, engine), pictures)


def _read(file: PictureFile) -> Picture:
    try:
        return decode(file.read())
    except PictureError as error:
        raise TrainingError(
            f"{file.name} could be read when the study began, and cannot any more: {error}. Leave the folders as they "
            "are while it runs, and run it again"
        ) from error
