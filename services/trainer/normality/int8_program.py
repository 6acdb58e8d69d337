"""``python -m services.trainer.normality.int8_program GRAPH PICTURES OUT``: an OpenVINO graph in int8, by NNCF."""

import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np

from shared.vision.openvino_quietly import ov  # before NNCF, whose telemetry is that of OpenVINO

CONVOLUTIONS = {"Convolution", "GroupConvolution"}
# Convolutions that read a grid of at least this share of the picture's side stay in float: the first stages carry
# everything that follows. On tiles (b12 + b14, 256 px) normals' scores keep their order by .994 (.956 with all in
# int8), on a board (b4 + b7, 512 px) by .998 (.971), and AUROC is .991 instead of .997 there with all in int8
# (measured with one projection more in float, that of the second block).
KEPT_FROM = 0.5


def main(graph: Path, pictures: Path, out: Path) -> None:
    """Quantise a graph, and write it."""
    import nncf  # noqa: PLC0415 - after its telemetry is out of reach

    nncf.set_log_level(logging.ERROR)
    model = ov.Core().read_model(graph)
    model.reshape([1, *model.input(0).partial_shape[1:]])
    shown = np.load(pictures)
    quantised = nncf.quantize(
        model,
        nncf.Dataset(list(shown), lambda picture: picture[None]),
        # Weights and activations symmetric: more of the scores' order is kept than by the mixed preset (.994 and .862).
        preset=nncf.QuantizationPreset.PERFORMANCE,
        subset_size=len(shown),
        ignored_scope=nncf.IgnoredScope(names=_first_stages(model)),
    )
    ov.save_model(quantised, out, compress_to_fp16=False)


def _first_stages(model: Any) -> list[str]:
    side = model.input(0).partial_shape[1].get_length()
    return [
        operation.get_friendly_name()
        for operation in model.get_ordered_ops()
        if operation.get_type_name() in CONVOLUTIONS
        and operation.input(0).get_partial_shape()[2].get_length() >= KEPT_FROM * side
    ]


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
