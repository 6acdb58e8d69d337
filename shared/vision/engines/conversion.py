"""OpenVINO graphs on disk: converted once from TensorFlow, in a subprocess, and found again ever after."""

import hashlib
import importlib.metadata
import json
import subprocess
import tempfile
from pathlib import Path

from shared import own_process
from shared.vision.backbone_weights import backbone_weights_sha256
from shared.vision.engine import output_names
from shared.vision.errors import ConversionFailed
from shared.vision.recipe import Recipe

# Bump when `shared.vision.feature_graph` makes another graph of the same weights.
GRAPH = "feature-graph-2"
TIMEOUT = 600  # seconds; a conversion takes ten, importing TensorFlow on a busy machine most of it
GRAPH_FILE = "graph.xml"


def converted_graphs(recipe: Recipe, cache_dir: Path) -> dict[int, Path]:
    """The OpenVINO graph (``.xml``) of each of the recipe's input sizes; what is not there yet is converted.

    A graph is float32 whatever the recipe's precision, which OpenVINO applies when it compiles. Processes that convert
    the same graph at once do so twice and keep one: a graph appears whole, by a rename.

    Raises:
        ConversionFailed: TensorFlow is missing, a tap is unknown, or the cache cannot be written.
    """
    folders = {size: cache_dir / "openvino" / _key(recipe, size) for size in recipe.input_sizes}
    missing = [size for size in folders if not (folders[size] / GRAPH_FILE).exists()]
    if missing:
        try:
            (cache_dir / "openvino").mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=cache_dir / "openvino", prefix=".converting-") as work:
                made = {size: Path(work) / str(size) for size in missing}
                _convert(recipe, {size: folder / GRAPH_FILE for size, folder in made.items()}, cache_dir)
                for size in missing:
                    _put(made[size], folders[size])
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConversionFailed(
                f"the graphs of {recipe.backbone} cannot be kept in {cache_dir}: {error}; "
                "point CHIPSIEVE_CACHE_DIR to a folder that can be written"
            ) from error
    return {size: folder / GRAPH_FILE for size, folder in folders.items()}


def _put(made: Path, folder: Path) -> None:
    try:
        made.rename(folder)
    except OSError:
        if not (folder / GRAPH_FILE).exists():  # else another process was faster, with the same graph
            raise


def _key(recipe: Recipe, input_size: int) -> str:
    """All that decides what a graph computes. TensorFlow's version does not: an image that brings its graphs along
    needs no TensorFlow at all.
    """
    decides = {
        "weights": backbone_weights_sha256(recipe.backbone),
        "input_size": input_size,
        "outputs": sorted(set(output_names(recipe, input_size).values())),
        "graph": GRAPH,
        "openvino": importlib.metadata.version("openvino"),
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:32]


def _convert(recipe: Recipe, paths: dict[int, Path], cache_dir: Path) -> None:
    why = own_process.run(
        "shared.vision.engines.convert",
        json.dumps(recipe.to_json()),
        *(f"{size}={path}" for size, path in paths.items()),
        timeout=TIMEOUT,
        CUDA_VISIBLE_DEVICES="-1",  # a graph is made, not run
    )
    if why:
        raise ConversionFailed(
            f"{recipe.backbone} could not be converted to OpenVINO: {why}; make room in {cache_dir} "
            "(CHIPSIEVE_CACHE_DIR), or mend the recipe or the installation"
        )
