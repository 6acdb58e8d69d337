"""A product's own int8 graphs: its backbone with whole numbers in place of most float32 ones.

How far activations reach, and so how they are rounded, was found on pictures of one product's normals. So these graphs
belong to its bundle and their digest to its feature space, where the float graphs are everybody's.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

PREFIX = "graph"
"""How the arrays' names begin."""


@dataclass(frozen=True, slots=True)
class Int8Graph:
    """One graph in OpenVINO's intermediate representation."""

    topology: bytes
    """XML."""
    weights: bytes


@dataclass(frozen=True, slots=True)
class Int8Graphs:
    """One graph an input size of the recipe."""

    by_size: Mapping[int, Int8Graph]

    def __post_init__(self) -> None:
        if not self.by_size or not all(graph.topology and graph.weights for graph in self.by_size.values()):
            raise ValueError(f"int8 graphs of {sorted(self.by_size)} pixels, one of which is empty")

    @property
    def sha256(self) -> str:
        """Hex digest over all of them."""
        digest = hashlib.sha256()
        for size, graph in sorted(self.by_size.items()):
            for part in (graph.topology, graph.weights):
                digest.update(f"{size} {len(part)} ".encode())
                digest.update(part)
        return digest.hexdigest()

    def arrays(self) -> dict[str, NDArray[np.uint8]]:
        """By file name: a graph's bytes."""
        files = {}
        for size, graph in self.by_size.items():
            files[f"{PREFIX}{size}.topology.npy"] = np.frombuffer(graph.topology, np.uint8)
            files[f"{PREFIX}{size}.weights.npy"] = np.frombuffer(graph.weights, np.uint8)
        return files

    @classmethod
    def from_arrays(cls, sizes: tuple[int, ...], arrays: Mapping[str, NDArray[np.uint8]]) -> Self:
        """From `arrays`' form.

        Raises:
            KeyError: naming an array that is missing.
            ValueError: there are others, or one is no row of bytes.
        """
        names = {size: (f"{PREFIX}{size}.topology.npy", f"{PREFIX}{size}.weights.npy") for size in sizes}
        if others := arrays.keys() - {name for of_size in names.values() for name in of_size}:
            raise ValueError(f"graphs {sorted(others)} of sizes that the recipe does not have")
        for name, array in arrays.items():
            if array.ndim != 1 or array.dtype != np.uint8:
                raise ValueError(f"{name} holds {array.dtype} {array.shape}, and not bytes")
        return cls({size: Int8Graph(*(arrays[name].tobytes() for name in of_size)) for size, of_size in names.items()})
