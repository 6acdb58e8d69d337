"""OpenVINO graphs on disk: converted once from TensorFlow, in a subprocess, and found again ever after."""

import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import shared
from shared.vision.backbone_weights import backbone_weights_sha256
from shared.vision.engine import output_names
from shared.vision.errors import ConversionFailed
from shared.vision.recipe import Recipe

# Bump when `shared.vision.feature_graph` makes another graph of the same weights.
GRAPH = "feature-graph-1"
TIMEOUT = 600  # seconds; a conversion takes ten, importing TensorFlow on a busy machine most of it
GRAPH_FILE = "graph.xml"


def converted_graph(recipe: Recipe, input_size: int, cache_dir: Path) -> Path:
    """The OpenVINO graph (``.xml``) of the recipe's layers of one input size, converted where it is not there yet.

    A graph is float32 whatever the recipe's precision, which OpenVINO applies when it compiles. Processes that convert
    the same graph at once do so twice and keep one: a graph appears whole, by a rename.

    Raises:
        ConversionFailed: TensorFlow is missing, a tap is unknown, or the cache cannot be written.
    """
    folder = cache_dir / "openvino" / _key(recipe, input_size)
    if not (folder / GRAPH_FILE).exists():
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".converting-") as work:
                _convert(recipe, input_size, Path(work) / "graph" / GRAPH_FILE)
                _put(Path(work) / "graph", folder)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConversionFailed(
                f"the graph of {recipe.backbone} cannot be kept in {cache_dir}: {error}; "
                "point CHIPSIEVE_CACHE_DIR to a folder that can be written"
            ) from error
    return folder / GRAPH_FILE


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


def _convert(recipe: Recipe, input_size: int, path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "shared.vision.engines.convert",
        json.dumps(recipe.to_json()),
        str(input_size),
        str(path),
    ]
    root = str(Path(shared.__file__).parents[1])
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
        "CUDA_VISIBLE_DEVICES": "-1",  # a graph is made, not run
    }
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"]
        raise ConversionFailed(
            f"{recipe.backbone} could not be converted to OpenVINO: {said[-1]}; mend the recipe or the installation"
        )
