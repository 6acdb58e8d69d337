from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.cli.archive import PictureGone
from services.cli.explain.errors import NotRepeatable
from services.cli.explain.recomputation import _engine_settings, _shares, from_file, judge, recompute_uninspected
from services.extractor.settings import EngineSettings, ExtractorSettings
from shared.events import (
    ChipInspected,
    FeaturesExtracted,
    ImagePointer,
    Uninspected,
    UninspectedReason,
    Verdict,
)
from shared.vision.features import quantise
from shared.vision.recipe import Layer, Recipe
from tests.bad_pictures import encoded, noise
from tests.banks import make_bank, make_head, make_patch_head
from tests.events_of_chips import NOON, identity, image_captured

PICTURE = encoded(noise(), "PNG")
CAPTURED = image_captured(PICTURE)
POINTER = ImagePointer(topic="images", partition=0, offset=0, sha256=CAPTURED.sha256)


def uninspected(reason: UninspectedReason) -> ChipInspected:
    cause = Uninspected(reason=reason, detail="as it was", stage="extractor")
    return ChipInspected(
        **identity().fields(), verdict=Verdict.UNINSPECTED, uninspected=cause, image=POINTER, inspected_at=NOON
    )


@pytest.mark.parametrize(
    ("parts", "names"),
    [
        ({}, ["a@256/3", "b@256/3"]),
        ({"head": make_head(12)}, ["a@256/3", "b@256/3", "known defects"]),
        ({"patch_head": make_patch_head(6)}, ["a@256/3", "b@256/3", "known defects"]),
    ],
)
def test_shares_are_those_of_the_layers_and_of_known_defects_and_make_up_the_score(
    parts: dict[str, Any], names: list[str]
) -> None:
    layers = (Layer(tap="a", weight=1.5), Layer(tap="b", metric="l2", weight=0.5))
    bank = make_bank(recipe=Recipe(layers=layers), **parts)
    random = np.random.default_rng(0)
    grids = tuple(quantise(layer.name, random.random((4, 5, 3), np.float32)) for layer in layers)
    features = FeaturesExtracted(**identity().fields(), image=POINTER, height=64, width=80, grids=grids)
    score = judge(features, bank).score
    shares = _shares(grids, bank, score)
    assert [share.of for share in shares] == names
    assert [share.metric for share in shares[:2]] == ["cosine", "l2"]
    assert sum(share.score for share in shares) == pytest.approx(score, rel=1e-6)
    assert len({share.score for share in shares}) == len(shares)


@pytest.mark.parametrize(
    ("reason", "picture", "again"),
    [
        (UninspectedReason.UNDECODABLE_IMAGE, b"no picture", UninspectedReason.UNDECODABLE_IMAGE),
        (UninspectedReason.UNDECODABLE_IMAGE, PICTURE, None),
        (UninspectedReason.IMAGE_TOO_LARGE, PICTURE[:9], UninspectedReason.UNDECODABLE_IMAGE),
    ],
)
def test_what_a_picture_tells_is_read_from_it_again(
    reason: UninspectedReason, picture: bytes, again: UninspectedReason | None
) -> None:
    found = recompute_uninspected(uninspected(reason), image_captured(picture), ExtractorSettings())
    cause = found.verdict.uninspected
    assert (cause and (cause.reason, cause.stage)) == (again and (again, "extractor"))
    assert (found.picture is None) == (again is not None)


def test_what_no_picture_tells_is_not_repeated() -> None:
    with pytest.raises(NotRepeatable, match=r"not inspected \(TOO_LATE at the extractor: as it was\)"):
        recompute_uninspected(uninspected(UninspectedReason.TOO_LATE), CAPTURED, ExtractorSettings())
    with pytest.raises(NotRepeatable, match="no reason given"):
        recompute_uninspected(
            replace(uninspected(UninspectedReason.TOO_LATE), uninspected=None), CAPTURED, ExtractorSettings()
        )


def test_a_file_stands_for_the_judged_picture_where_it_is_the_same(tmp_path: Path) -> None:
    said, path = uninspected(UninspectedReason.UNDECODABLE_IMAGE), tmp_path / "chip.png"
    with pytest.raises(PictureGone, match=r"chip\.png: No such file"):
        from_file(said, path)
    path.write_bytes(PICTURE)
    assert from_file(said, path) == CAPTURED
    for image in (replace(POINTER, sha256="ab" * 32), replace(POINTER, sha256=None), None):
        with pytest.raises(PictureGone, match="is not the picture that was judged"):
            from_file(replace(said, image=image), path)


@pytest.mark.parametrize(
    ("named", "kind"),
    [
        ("tensorflow 2.21.0 f32 on a GPU", "tensorflow"),
        ("openvino 2026.4 bf16 on a CPU", "openvino"),
        ("another 1.0", "openvino"),
        (None, "openvino"),
    ],
)
def test_the_engine_is_of_the_kind_that_the_verdict_names(named: str | None, kind: str) -> None:
    said = replace(uninspected(UninspectedReason.OTHER), engine=named)
    assert _engine_settings(said, EngineSettings(threads=3)) == EngineSettings(kind=kind, threads=3)
