"""Converts feature graphs to OpenVINO: ``python -m shared.vision.engines.convert RECIPE INPUT_SIZE=PATH...``.

Run by `shared.vision.engines.conversion` in a process of its own, which TensorFlow's memory leaves with it.
"""

import json
import sys
from pathlib import Path

from shared.vision.errors import VisionError
from shared.vision.feature_graph import build_feature_graph
from shared.vision.openvino_quietly import ov
from shared.vision.recipe import Recipe


def main(recipe_json: str, *targets: str) -> None:
    """Write each input size's graph to its path, and its weights beside it."""
    recipe = Recipe.from_json(json.loads(recipe_json))
    for target in targets:
        input_size, _, path = target.partition("=")
        graph = build_feature_graph(recipe, int(input_size), "float32")
        Path(path).parent.mkdir(parents=True)
        ov.save_model(ov.convert_model(graph), path, compress_to_fp16=False)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except VisionError as error:
        sys.exit(str(error))
