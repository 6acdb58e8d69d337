import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from services.cli.explain.agreement import COMPARED, compare, same_features
from shared.events import AnomalyMap, FeatureGrid, Uninspected, UninspectedReason, Verdict
from shared.vision.features import quantise
from shared.vision.mask import encode
from tests.contract.examples import EXAMPLES

PIXELS = np.eye(4, 6, dtype=np.uint8)
SAID = replace(EXAMPLES["ChipInspected"], mask=encode(PIXELS))
FEATURES = EXAMPLES["FeaturesExtracted"]
LATE = Uninspected(reason=UninspectedReason.UNDECODABLE_IMAGE, detail="cut off", stage="extractor")


@pytest.mark.parametrize(
    ("field", "recomputed", "difference"),
    [
        ("verdict", Verdict.PASS, "UNINSPECTED was said, PASS comes out"),
        ("uninspected", LATE, "TOO_LATE (Frist überschritten ⏱), now UNDECODABLE_IMAGE (cut off)"),
        ("score", math.nextafter(4.5, 5), "4.5 was said, 4.500000000000001 comes out: 8.9e-16 apart"),
        ("score", None, "4.5 was said, None comes out"),
        ("threshold", 2.0, "2.25 was said, 2.0 comes out: 0.25 apart"),
        ("defect_kind", "blot", "crack was said, blot comes out"),
        ("bank_version", "2", "20261124T161500-ab12cd34 was said, 2 comes out"),
        ("feature_space", None, "0123456789abcdef was said, None comes out"),
        ("anomaly_map", AnomalyMap(height=1, width=2, values=b"\x00\x38\xff\x7b"), "1 of 2 patches, by 0.5 at most"),
        ("anomaly_map", AnomalyMap(height=2, width=1, values=b"\x00\x3c\xff\x7b"), "1 x 2 patches, now 2 x 1"),
        ("mask", encode(np.eye(4, 6, 1, dtype=np.uint8)), "8 pixels, of 4 and 4"),
        ("mask", encode(PIXELS.T), "4 x 6 pixels, now 6 x 4"),
        ("regions", SAID.regions[:1], "1 of 2 differ, 1 come out"),
    ],
)
def test_each_field_that_differs_is_told_with_how_far(field: str, recomputed: Any, difference: str) -> None:
    compared = {each.field: each for each in compare(SAID, replace(SAID, **{field: recomputed}))}

    assert [name for name, each in compared.items() if not each.same] == [field]
    assert (compared[field].said, compared[field].recomputed) == (getattr(SAID, field), recomputed)
    assert {name: each.difference for name, each in compared.items() if each.difference} == {field: difference}


def test_all_is_compared_but_for_who_when_and_where() -> None:
    elsewhere = replace(SAID, event_id="another", engine="another", image=None, inspected_at=SAID.captured_at)

    assert [each.field for each in compare(SAID, elsewhere)] == list(COMPARED)
    assert all(each.same for each in compare(SAID, elsewhere))


def grid(layer: str, *, height: int = 2, odd: bool = False, scale: float = 1) -> FeatureGrid:
    features = np.full((height, 3, 4), scale, np.float32)
    features[0, 0, 0] /= 2 if odd else 1
    return quantise(layer, features)


@pytest.mark.parametrize(
    ("others", "difference"),
    [
        ((grid("a"), grid("b")), None),
        ((grid("a"), grid("b", odd=True)), "b: 1 of 24 values, 0 of 6 scales"),
        ((grid("a", scale=2), grid("b")), "a: 0 of 24 values, 6 of 6 scales"),
        ((grid("a", height=3), grid("b", odd=True)), "a has another shape; b: 1 of 24 values, 0 of 6 scales"),
        ((grid("a"),), "b has another shape"),
        ((grid("b"), grid("a")), "other layers"),
    ],
)
def test_features_differ_where_a_bit_of_any_layer_does(others: tuple[FeatureGrid, ...], difference: str | None) -> None:
    ours = replace(FEATURES, grids=(grid("a"), grid("b")))

    assert same_features(ours, replace(FEATURES, grids=others)) == difference
