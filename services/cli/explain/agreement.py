"""Whether two verdicts on one chip are the same, field by field, to the last bit."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.events import AnomalyMap, ChipInspected, FeaturesExtracted, Mask, Region, Uninspected
from shared.vision.features import patches_of
from shared.vision.mask import decode

COMPARED = (
    "verdict",
    "uninspected",
    "score",
    "threshold",
    "defect_kind",
    "bank_version",
    "feature_space",
    "anomaly_map",
    "mask",
    "regions",
)
"""All that follows from picture and bank; what is left out says who, when and where."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One field of a verdict, as it was said and as it was made again."""

    field: str
    said: Any
    recomputed: Any
    same: bool
    """To the last bit."""
    difference: str | None
    """How far they are apart, for people; None where they are the same."""


def compare(said: ChipInspected, recomputed: ChipInspected) -> list[Compared]:
    """The fields that follow from picture and bank."""
    return [_compared(name, getattr(said, name), getattr(recomputed, name)) for name in COMPARED]


def same_features(one: FeaturesExtracted, other: FeaturesExtracted) -> str | None:
    """How features differ; None where they are the same, to the last bit."""
    if one.grids == other.grids:
        return None
    by_layer = {grid.layer: grid for grid in other.grids}
    told = []
    for grid in one.grids:
        counterpart = by_layer.get(grid.layer)
        if counterpart is None or (counterpart.height, counterpart.width) != (grid.height, grid.width):
            told.append(f"{grid.layer} has another shape")
            continue
        ours, theirs = patches_of(grid), patches_of(counterpart)
        values, scales = (ours.values != theirs.values).sum(), (ours.scales != theirs.scales).sum()
        if values or scales:
            told.append(f"{grid.layer}: {values} of {ours.values.size} values, {scales} of {ours.scales.size} scales")
    return "; ".join(told) or "other layers"


def _compared(name: str, said: Any, recomputed: Any) -> Compared:
    same = said == recomputed
    if same:
        return Compared(name, said, recomputed, same=True, difference=None)
    told = _DIFFERENCES.get(type(said)) if type(said) is type(recomputed) else None
    difference = told(said, recomputed) if told else f"{said!s:.60} was said, {recomputed!s:.60} comes out"
    return Compared(name, said, recomputed, same=False, difference=difference)


def _numbers(said: float, recomputed: float) -> str:
    return f"{said!r} was said, {recomputed!r} comes out: {abs(said - recomputed):.2g} apart"


def _maps(said: AnomalyMap, recomputed: AnomalyMap) -> str:
    if (said.height, said.width) != (recomputed.height, recomputed.width):
        return f"{said.height} x {said.width} patches, now {recomputed.height} x {recomputed.width}"
    one, other = (_patches(each) for each in (said, recomputed))
    return f"{(one != other).sum()} of {one.size} patches, by {np.abs(one - other).max():.2g} at most"


def _masks(said: Mask, recomputed: Mask) -> str:
    one, other = decode(said), decode(recomputed)
    if one.shape != other.shape:
        return f"{one.shape[0]} x {one.shape[1]} pixels, now {other.shape[0]} x {other.shape[1]}"
    return f"{(one != other).sum()} pixels, of {one.sum()} and {other.sum()}"


def _regions(said: tuple[Region, ...], recomputed: tuple[Region, ...]) -> str:
    return f"{len(set(said) - set(recomputed))} of {len(said)} differ, {len(recomputed)} come out"


def _reasons(said: Uninspected, recomputed: Uninspected) -> str:
    return f"{said.reason} ({said.detail}), now {recomputed.reason} ({recomputed.detail})"


def _patches(coarse: AnomalyMap) -> NDArray[np.float32]:
    return np.frombuffer(coarse.values, np.dtype("<f2")).astype(np.float32)


_DIFFERENCES: dict[type, Callable[[Any, Any], str]] = {
    float: _numbers,
    AnomalyMap: _maps,
    Mask: _masks,
    tuple: _regions,
    Uninspected: _reasons,
}
