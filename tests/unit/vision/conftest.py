"""Engines are slow to make: one of each a session."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.vision.engine import Engine
from shared.vision.engines import conversion
from shared.vision.engines.loading import load_engine
from shared.vision.recipe import Layer, Recipe

# Two input sizes, an early and a late tap, several windows: everything a recipe can vary.
VARIED_RECIPE = Recipe(
    layers=(
        Layer(tap="b4", input_size=96, pool=2),
        Layer(tap="b7"),
        Layer(tap="b7", pool=1, metric="l2"),
        Layer(tap="b12", pool=3),
    )
)


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this session's converted graphs are kept; empty at its start."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def serving_process(cache_dir: Path) -> subprocess.CompletedProcess[str]:
    """What became of a process that extracts a picture's features by OpenVINO; it finds the cache empty."""
    program = (
        "import sys, numpy;"
        "from shared.vision.engines.loading import load_engine;"
        "from shared.vision.extraction import extract;"
        "from tests.unit.vision.conftest import VARIED_RECIPE as recipe;"
        "grids = extract([numpy.zeros((40, 60, 3), numpy.uint8)], recipe, load_engine('openvino', recipe));"
        "print([grid.layer for grid in grids[0]]);"
        "print({'tensorflow', 'keras', 'openvino_telemetry'} & {name for name in sys.modules if sys.modules[name]})"
    )
    environment = os.environ | {"CHIPSIEVE_CACHE_DIR": str(cache_dir)}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def converted_here() -> Iterator[None]:
    """Graphs are converted by this process, which has TensorFlow; one of their own takes seconds to import it."""
    from shared.vision.engines import convert  # not for all: `serving_process` imports this module without TensorFlow

    def convert_here(recipe: Recipe, paths: dict[int, Path], _cache_dir: Path) -> None:
        convert.main(json.dumps(recipe.to_json()), *(f"{size}={path}" for size, path in paths.items()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conversion, "_convert", convert_here)
        yield


@pytest.fixture(scope="session")
def openvino_engine(serving_process: object, cache_dir: Path) -> Engine:
    return load_engine("openvino", VARIED_RECIPE, threads=2, cache_dir=cache_dir)


@pytest.fixture(scope="session")
def tensorflow_engine() -> Engine:
    return load_engine("tensorflow", VARIED_RECIPE, threads=2)
