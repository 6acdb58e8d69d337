"""A verdict made again: the same picture, the same bank, the same code as extractor and matcher run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np

from services.cli.archive import PictureGone
from services.cli.explain.errors import NotRepeatable
from services.extractor.engines import EngineCache
from services.extractor.errors import ImageUnavailable
from services.extractor.image_source import read_image
from services.extractor.settings import EngineSettings, ExtractorSettings, ImageSettings
from services.matcher.step import judged
from shared.bank.bundle import Bundle
from shared.errors import Uninspectable
from shared.events import (
    ChipInspected,
    FeatureGrid,
    FeaturesExtracted,
    ImageCaptured,
    Uninspected,
    UninspectedReason,
)
from shared.identity import identity_of
from shared.vision.bank import Bank
from shared.vision.engine import EngineKind
from shared.vision.extraction import extract
from shared.vision.inspection import inspect, layer_patches, layer_scores
from shared.vision.picture import Picture, decode

FROM_THE_PICTURE = {
    UninspectedReason.UNDECODABLE_IMAGE,
    UninspectedReason.IMAGE_TOO_LARGE,
    UninspectedReason.UNSUPPORTED_IMAGE,
    UninspectedReason.IMAGE_UNAVAILABLE,
}
"""Why a chip may be uninspected that shows again when its picture is read again."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one part adds to a chip's score."""

    of: str
    """A layer, or ``head``."""
    metric: str | None
    """How the layer's distances are measured; None for the head."""
    score: float


@dataclass(frozen=True, slots=True)
class Recomputed:
    """A verdict made again, and what it is made of."""

    verdict: ChipInspected
    picture: Picture | None = None
    """None where it cannot be decoded."""
    features: FeaturesExtracted | None = None
    shares: tuple[Share, ...] = ()


def recompute(said: ChipInspected, captured: ImageCaptured, bundle: Bundle, settings: ExtractorSettings) -> Recomputed:
    """PASS or REJECT, made again.

    Args:
        said: the verdict, whose bank, feature space and engine are taken.
        captured: the picture's event.
        bundle: the version that the verdict names.
        settings: of the extractor: image root, limits, engine.

    Raises:
        PictureError, ImageUnavailable: the picture cannot be looked at now.
        UnknownFeatureSpace: this installation makes other features than those the chip was judged by.
    """
    picture = _picture(captured, settings.images)
    bank = bundle.bank
    engines = EngineCache(_engine_settings(said, settings.engine), lambda _recipe: bundle.graphs)
    engine = engines.engine(bank.recipe, said.feature_space or "")
    (grids,) = extract([picture], bank.recipe, engine)
    features = FeaturesExtracted(
        **identity_of(said).fields(),
        image=said.image,
        height=picture.shape[0],
        width=picture.shape[1],
        feature_space=said.feature_space,
        engine=engine.description,
        grids=grids,
    )
    verdict = judge(features, bank)
    return Recomputed(verdict, picture, features, _shares(grids, bank, verdict.score or 0.0))


def judge(features: FeaturesExtracted, bank: Bank) -> ChipInspected:
    """The verdict that follows from features alone, as the matcher judges."""
    (inspection,) = inspect([features.grids], [(features.height or 0, features.width or 0)], bank)
    return judged(features, inspection, bank)


def recompute_uninspected(said: ChipInspected, captured: ImageCaptured, settings: ExtractorSettings) -> Recomputed:
    """UNINSPECTED, made again; without a reason where the picture can be looked at now.

    Raises:
        NotRepeatable: for a reason that the picture does not tell.
    """
    cause = said.uninspected
    if cause is None or cause.reason not in FROM_THE_PICTURE:
        why = f"{cause.reason} at the {cause.stage}: {cause.detail}" if cause else "no reason given"
        raise NotRepeatable(
            f"chip {said.chip_id} of {said.line_id} was not inspected ({why}): that came of the clock or of what the "
            "services had at the time, and no picture shows it again"
        )
    try:
        picture = _picture(captured, settings.images)
    except Uninspectable as error:
        again = Uninspected(reason=error.reason, detail=str(error), stage=cause.stage)
        return Recomputed(replace(said, uninspected=again))
    return Recomputed(replace(said, uninspected=None), picture)


def from_file(said: ChipInspected, path: Path) -> ImageCaptured:
    """The picture's event with a file's bytes in place of what Kafka or the image root had.

    Raises:
        PictureGone: the file cannot be read, or is another picture.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PictureGone(f"--picture {path}: {error.strerror}") from error
    sha256 = (said.image and said.image.sha256) or ""
    event = ImageCaptured(**identity_of(said).fields(), sha256=sha256, image_bytes=data)
    try:
        read_image(event, root=None, max_bytes=len(data))
    except ImageUnavailable as error:
        raise PictureGone(f"--picture {path} is not the picture that was judged: {error}") from error
    return event


def _picture(captured: ImageCaptured, images: ImageSettings) -> Picture:
    data = read_image(captured, root=images.root, max_bytes=images.max_referenced_bytes)
    return decode(data, max_pixels=images.max_pixels)


def _engine_settings(said: ChipInspected, settings: EngineSettings) -> EngineSettings:
    """Of the kind that the verdict names; ours for a verdict of old, which names none."""
    kind = (said.engine or "").partition(" ")[0]
    return settings.model_copy(update={"kind": kind}) if kind in get_args(EngineKind) else settings


def _shares(grids: Sequence[FeatureGrid], bank: Bank, score: float) -> tuple[Share, ...]:
    """What the layers add to the score, and what is left of it for the heads."""
    layers = bank.recipe.layers
    distances = [
        of_layer.distances(layer_patches([tuple(grids)], layer), layer.metric)
        for layer, of_layer in zip(layers, bank.layers, strict=True)
    ]
    scores = [float(of_layer[0]) for of_layer in layer_scores(distances, bank.recipe, bank.calibration.layers)]
    shares = [Share(layer.name, layer.metric, each) for layer, each in zip(layers, scores, strict=True)]
    if bank.head is not None or bank.patch_head is not None:
        shares.append(Share("known defects", None, score - float(np.sum(scores))))
    return tuple(shares)
