"""What of the peers and of us is compared: features, accuracy by one and the same metric, and what a picture costs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from services.trainer.evaluation.metrics import PixelFigures, auroc
from services.trainer.material.pictures import find_masks, find_pictures, read_mask
from shared.vision.picture import probe

SAME_FEATURES = 1e-3  # of the largest one; float32 sums of another order differ by some 1e-6

OURS = "Chipsieve, whole line through Kafka"
HEADLINE = "anomalib PatchCore, OpenVINOInferencer"

Map = NDArray[np.float32]


def largest_difference(ours: Mapping[str, Map], theirs: Mapping[str, Map]) -> float:
    """The largest difference of features, as a share of the largest feature of its tap.

    Args:
        ours: by tap, (N, h, w, C).
        theirs: by tap, (N, C, h, w), as torch lays them out.
    """
    return max(
        float(np.abs(features - theirs[tap].transpose(0, 2, 3, 1)).max() / np.abs(features).max())
        for tap, features in ours.items()
    )


def accuracy(tested: Path, scores: NDArray[np.float32], maps: Sequence[Map]) -> dict[str, float | None]:
    """Image AUROC and AU-PRO, by the code of `chipsieve evaluate`.

    Args:
        tested: folder with ``normal``, ``abnormal`` and ``masks``.
        scores: (N,), of the normal pictures and then of the abnormal ones, each in the order of `find_pictures`.
        maps: as many, of any size; stretched to the picture's.
    """
    normals, abnormals = find_pictures(tested / "normal"), find_pictures(tested / "abnormal")
    masks = [*[None] * len(normals), *find_masks(tested / "masks", abnormals)]
    figures = PixelFigures(min(float(each.min()) for each in maps), max(float(each.max()) for each in maps))
    for file, mask, coarse in zip((*normals, *abnormals), masks, maps, strict=True):
        if mask is None and file in abnormals:
            continue  # nobody knows which of its pixels are defective
        size = probe(file.read())
        pixels = np.asarray(cv2.resize(coarse, (size.width, size.height), interpolation=cv2.INTER_LINEAR), np.float32)
        figures.add(pixels, read_mask(mask, size.height, size.width) if mask else None)
    defective = np.arange(len(scores)) >= len(normals)
    return {"image_auroc": auroc(scores, defective), "au_pro": figures.au_pro()}


def best(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The fastest round's rate, and the smallest CPU time: others on the machine only ever make them worse."""
    return {
        "images_per_second": max(each["images_per_second"] for each in rounds),
        "cpu_ms": min(each["cpu_ms"] for each in rounds),
    }


def rows(
    speed: Mapping[str, Mapping[str, float]], accurate: Mapping[str, Mapping[str, float | None]]
) -> list[dict[str, Any]]:
    """The table: what each does, and how many times as much we do.

    Args:
        speed: what `best` gives, by name; ours is `OURS`.
        accurate: what `accuracy` gives, by the name's first part, before the comma.
    """
    ours = speed[OURS]
    return [
        {
            "what": name,
            "images/s": round(figures["images_per_second"], 1),
            "ours, times as fast": round(ours["images_per_second"] / figures["images_per_second"], 2),
            "CPU ms a picture": round(figures["cpu_ms"], 2),
            "of ours": round(figures["cpu_ms"] / ours["cpu_ms"], 2),
            **{
                title: None if (value := accurate[name.partition(",")[0]][figure]) is None else round(value, 4)
                for title, figure in (("image AUROC", "image_auroc"), ("AU-PRO", "au_pro"))
            },
        }
        for name, figures in speed.items()
    ]
