"""What all rows share, computed once and kept on disk: patch features of the backbone, and small pictures."""

import json
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from services.trainer.errors import NoPictures
from services.trainer.evaluation.ablation.dataset import Dataset
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


@dataclass(frozen=True, eq=False)
class Features:
    """Of the pictures that could be read."""

    folder: Path
    """Holds ``pixels.npy``, and ``values-TAP.npy`` and ``scales-TAP.npy`` a layer."""
    readable: tuple[int, ...]
    """Indices into the dataset."""
    unreadable: tuple[str, ...]
    ms_per_image: float
    """Resizing and backbone, one picture at a time on one thread."""

    def patches(self, layer: Layer) -> LayerPatches:
        """A layer's int8 features of all readable pictures."""
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
        NoPictures: not one can be read.
    """
    space = RECIPE.feature_space(backbone_weights_sha256(RECIPE.backbone))
    folder = cache / f"{dataset.fingerprint()}-{space}-{PIXELS}"
    if not (folder / _COMPLETE).exists():
        cache.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(dir=cache, prefix=".making-"))
        try:
            _make(dataset, making, progress)
            making.rename(folder)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    known = json.loads((folder / _COMPLETE).read_text(encoding="utf-8"))
    return Features(folder, tuple(known["readable"]), tuple(known["unreadable"]), known["ms_per_image"])


def backbone_parameters() -> int:
    """Weights and folded biases up to the backbone's last block, which classical rows and detectors rely on."""
    weights = read_checkpoint(backbone_weights_path(RECIPE.backbone))
    kernels = [
        array
        for name, array in weights.items()
        if name.startswith(("_conv_stem", "_blocks")) and name.endswith(".weight") and array.ndim == 4
    ]
    return sum(kernel.size + len(kernel) for kernel in kernels)


def _make(dataset: Dataset, folder: Path, progress: Progress) -> None:
    engine = load_engine("openvino", RECIPE)
    arrays: dict[str, NDArray[np.generic]] = {}
    readable: list[int] = []
    unreadable: list[str] = []
    seen: list[Picture] = []
    for start in range(0, len(dataset), BATCH):
        pictures = []
        for index in range(start, min(start + BATCH, len(dataset))):
            try:
                pictures.append(_read(dataset.files[index]))
                readable.append(index)
            except PictureError:
                unreadable.append(dataset.files[index].name)
        if pictures:
            seen += pictures[: TIMED - len(seen)]
            _put(_Rows(folder, arrays, len(dataset)), len(readable) - len(pictures), pictures, engine)
        progress("computing features", min(start + BATCH, len(dataset)), len(dataset))
    if not readable:
        raise NoPictures(f"not one of {len(dataset)} pictures can be read, for instance {unreadable[0]}")
    for name, array in arrays.items():
        if unreadable:
            np.save(folder / f"{name}.npy", array[: len(readable)].copy())
        else:
            array.flush()  # type: ignore[attr-defined]
    known = {"readable": readable, "unreadable": unreadable, "ms_per_image": _milliseconds(seen)}
    (folder / _COMPLETE).write_text(json.dumps(known), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class _Rows:
    """Arrays on disk that are filled from the top."""

    folder: Path
    arrays: dict[str, NDArray[np.generic]]
    total: int

    def put(self, name: str, at: int, values: NDArray[np.generic]) -> None:
        if name not in self.arrays:
            shape = (self.total, *values.shape[1:])
            self.arrays[name] = open_memmap(self.folder / f"{name}.npy", "w+", values.dtype, shape)
        self.arrays[name][at : at + len(values)] = values


def _put(rows: _Rows, at: int, pictures: list[Picture], engine: Engine) -> None:
    """Write a batch's arrays to disk, from row `at` on."""
    rows.put("pixels", at, np.stack([resize(picture, PIXELS) for picture in pictures]))
    grids_of = extract(pictures, RECIPE, engine)
    for position, layer in enumerate(RECIPE.layers):
        patches = LayerPatches.of([(grids[position],) for grids in grids_of], layer)
        rows.put(f"values-{layer.tap}", at, patches.values)
        rows.put(f"scales-{layer.tap}", at, patches.scales)


def _milliseconds(pictures: list[Picture]) -> float:
    engine = load_engine("openvino", RECIPE, threads=1)
    times = []
    for picture in pictures[:1] + pictures:  # the first warms up
        started = time.perf_counter()
        extract([picture], RECIPE, engine)
        times.append(time.perf_counter() - started)
    return 1000 * float(np.median(times[1:]))


def _read(file: PictureFile) -> Picture:
    return decode(file.read())
