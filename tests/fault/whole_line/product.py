"""A product that costs little to inspect: small pictures, one early tap, a small bank."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from services.cli.demo.render import Defect, render_chip
from services.trainer.train import train
from shared.bank.bundle_folder import read_bundle
from shared.vision.engines.loading import load_engine
from shared.vision.extraction import extract
from shared.vision.inspection import inspect
from shared.vision.picture import decode
from shared.vision.recipe import Layer, Recipe
from tests.fault.whole_line.chips import PRODUCT

SIDE = 64  # pixels
RECIPE = Recipe(layers=(Layer(tap="b4", input_size=SIDE),))
NORMALS = 24
CANDIDATES = 48
# Scores repeat to float noise, whatever else is in the batch; a picture this far from the threshold keeps its verdict.
MARGIN = 0.05


@dataclass(frozen=True, slots=True)
class Pictures:
    """Encoded pictures by what their verdict must be."""

    passing: tuple[bytes, ...]
    rejected: tuple[bytes, ...]


def learn(folder: Path) -> tuple[Path, Pictures]:
    """Train the product, and find pictures that pass and pictures that are rejected; the bundle's folder and these."""
    normal = folder / "normal"
    normal.mkdir(parents=True)
    for number in range(NORMALS):
        (normal / f"{number:03}.png").write_bytes(_picture(number, None))
    bundle = folder / "bundle"
    train(product=PRODUCT, normal=normal, out=bundle, recipe=RECIPE)
    defects = list(Defect)
    candidates = [_picture(1000 + number, None) for number in range(CANDIDATES)]
    candidates += [_picture(2000 + number, defects[number % len(defects)]) for number in range(CANDIDATES)]
    return bundle, _sorted_by_verdict(bundle, candidates)


def _picture(seed: int, defect: Defect | None) -> bytes:
    picture = render_chip(np.random.default_rng(seed), PRODUCT, defect, size=SIDE).picture
    return cv2.imencode(".png", picture[..., ::-1])[1].tobytes()


def _sorted_by_verdict(bundle: Path, candidates: Sequence[bytes]) -> Pictures:
    bank = read_bundle(bundle).bank
    engine = load_engine("openvino", bank.recipe, threads=1)
    grids = extract([decode(data) for data in candidates], bank.recipe, engine)
    scores = [inspection.score - bank.threshold for inspection in inspect(grids, [(SIDE, SIDE)] * len(grids), bank)]
    rated = list(zip(candidates, scores, strict=True))
    return Pictures(
        passing=tuple(data for data, score in rated if score < -MARGIN),
        rejected=tuple(data for data, score in rated if score > MARGIN),
    )
