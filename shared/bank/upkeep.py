"""What a bundle remembers beside the bank, so that normals can be added later without the pictures it was made from."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

PREFIX = "upkeep."


@dataclass(frozen=True, slots=True, kw_only=True)
class UpkeepFigures:
    """What is remembered beside arrays; goes into the manifest."""

    groups: tuple[str, ...] | None = None
    """Names of the normals' groups; None where each stands for itself."""
    defects: tuple[str, ...] = ()
    """Names of the known defects' files."""
    kinds: tuple[str, ...] = ()
    """Their kinds; empty where one has none."""
    grids: tuple[tuple[int, int], ...] = ()
    """(height, width) of every layer's grid, where there are known defects."""
    defect_groups: tuple[str, ...] | None = None
    """Each known defect's group, where normals have groups; None without groups, and in bundles of old."""

    def to_json(self) -> dict[str, Any]:
        """For the manifest; without groups of defects it stays readable for those who know of none."""
        plain = asdict(self)
        return plain if self.defect_groups is not None else {k: v for k, v in plain.items() if k != "defect_groups"}


@dataclass(frozen=True, eq=False)
class DefectPatches:
    """The most anomalous patches of the known defects in one layer: those that their scores are made of."""

    values: NDArray[np.int8]
    """(A, k, C)."""
    scales: NDArray[np.float32]
    """(A, k)."""
    places: NDArray[np.int32]
    """(A, k): row x width + column in the grid."""


@dataclass(frozen=True, eq=False)
class Upkeep:
    """Held-out scores of normals, and the known defects."""

    figures: UpkeepFigures
    scores: NDArray[np.float32]
    """(N,) of normals, held out."""
    peaks: NDArray[np.float32]
    """(N,) largest values of their smoothed maps, held out."""
    group_of: NDArray[np.int32]
    """(N,) index of each normal's group; all zeros without groups."""
    layers: tuple[DefectPatches, ...] = ()
    """One a layer of the recipe, where there are known defects."""

    @property
    def groups(self) -> tuple[str, ...] | None:
        """Each normal's group; None where each stands for itself."""
        names = self.figures.groups
        return None if names is None else tuple(names[index] for index in self.group_of)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """By file name, little-endian; what is empty is left out."""
        arrays: dict[str, NDArray[Any]] = {
            f"{PREFIX}scores.npy": self.scores.astype("<f4"),
            f"{PREFIX}peaks.npy": self.peaks.astype("<f4"),
            f"{PREFIX}groups.npy": self.group_of.astype("<i4"),
        }
        for index, layer in enumerate(self.layers):
            arrays[f"{PREFIX}defects{index}.values.npy"] = layer.values
            arrays[f"{PREFIX}defects{index}.scales.npy"] = layer.scales.astype("<f4")
            arrays[f"{PREFIX}defects{index}.places.npy"] = layer.places.astype("<i4")
        return {name: np.ascontiguousarray(array) for name, array in arrays.items()}

    @classmethod
    def from_arrays(cls, figures: UpkeepFigures, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """From `arrays`' form, of the kinds that a bundle has (`shared.bank.bundle_parts`).

        Every number of `figures` and `arrays` counts as hostile until it was checked here.

        Raises:
            ValueError: they contradict each other.
        """
        scores, peaks, group_of = (arrays[f"{PREFIX}{name}.npy"] for name in ("scores", "peaks", "groups"))
        layers = tuple(
            DefectPatches(*(arrays[f"{PREFIX}defects{index}.{name}.npy"] for name in ("values", "scales", "places")))
            for index in range(len(figures.grids))
        )
        if not scores.shape == peaks.shape == group_of.shape == (len(scores),):
            raise ValueError(f"scores, peaks and groups of {scores.shape}, {peaks.shape}, {group_of.shape} normals")
        if group_of.min() < 0 or group_of.max() >= max(1, len(figures.groups or ())):
            raise ValueError("a normal is of a group that has no name")
        if figures.defect_groups is not None and len(figures.defect_groups) != len(figures.defects):
            raise ValueError(f"{len(figures.defect_groups)} groups of {len(figures.defects)} known defects")
        for layer, (height, width) in zip(layers, figures.grids, strict=True):
            shape = layer.values.shape[:2]
            if layer.scales.shape != shape or layer.places.shape != shape or layer.scales.min() < 0:
                raise ValueError("patches of known defects whose values, scales and places do not fit")
            if shape[0] != len(figures.defects) or layer.places.min() < 0 or layer.places.max() >= height * width:
                raise ValueError(f"patches of {shape[0]} known defects outside their grid or their list of names")
        return cls(figures, scores, peaks, group_of, layers)
