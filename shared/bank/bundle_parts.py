"""The arrays of a bundle: which ones its manifest calls for, of which kind each is, and what they make together."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.bank import upkeep as remembered
from shared.bank.array_file import read_array
from shared.bank.errors import CorruptBundle
from shared.bank.manifest import ArrayEntry, Manifest
from shared.bank.upkeep import Upkeep, UpkeepFigures
from shared.vision import int8_graphs
from shared.vision.bank import Bank, LayerMemory, memory_type
from shared.vision.head import Head, HeadFigures
from shared.vision.int8_graphs import Int8Graphs
from shared.vision.memory_bank import LayerBank
from shared.vision.patch_head import PatchHead, PatchHeadFigures
from shared.vision.patch_network import PatchNetwork
from shared.vision.place_memory import PlaceMemory
from shared.vision.recipe import Layer, Recipe

Arrays = Mapping[str, NDArray[Any]]
"""By file name."""


class Kind(NamedTuple):
    """What an array has to be, whatever its size."""

    dtype: str
    """As numpy writes it."""
    dimensions: int


BANK_PARTS = {"values": Kind("|i1", 2), "scales": Kind("<f4", 1)}
NETWORK_PARTS = {"inward": Kind("<f4", 2), "biases": Kind("<f4", 1), "outward": Kind("<f4", 1)}
PLACE_PARTS = {"mean": Kind("<f4", 3), "deviation": Kind("<f4", 3)}
MEMORY_PARTS: dict[type[LayerMemory], dict[str, Kind]] = {
    LayerBank: BANK_PARTS,
    PatchNetwork: NETWORK_PARTS,
    PlaceMemory: PLACE_PARTS,
}
HEAD_PARTS = {
    "centre": Kind("<f4", 1),
    "scale": Kind("<f4", 1),
    "support": Kind("<f2", 2),
    "coefficients": Kind("<f4", 2),
}
PATCH_HEAD_PARTS = NETWORK_PARTS | {"known": Kind("<f4", 1)}
UPKEEP_PARTS = {"scores": Kind("<f4", 1), "peaks": Kind("<f4", 1), "groups": Kind("<i4", 1)}
DEFECT_PARTS = {"values": Kind("|i1", 3), "scales": Kind("<f4", 2), "places": Kind("<i4", 2)}
GRAPH_PARTS = {"topology": Kind("|u1", 1), "weights": Kind("|u1", 1)}
PREFIXES = ("layer", "head.", "patch_head.", remembered.PREFIX, int8_graphs.PREFIX)
"""How the arrays' names begin."""


def arrays_of(bank: Bank, upkeep: Upkeep | None, graphs: Int8Graphs | None) -> dict[str, NDArray[Any]]:
    """All arrays of a bundle, by file name."""
    arrays: dict[str, NDArray[Any]] = {}
    for index, memory in enumerate(bank.layers):
        arrays |= _written(f"layer{index}.", MEMORY_PARTS[type(memory)], memory)
    if bank.head:
        arrays |= _written("head.", HEAD_PARTS, bank.head)
    if bank.patch_head:
        arrays |= _written("patch_head.", NETWORK_PARTS, bank.patch_head.network)
        arrays["patch_head.known.npy"] = np.ascontiguousarray(bank.patch_head.known, "<f4")
    return arrays | (upkeep.arrays() if upkeep else {}) | (graphs.arrays() if graphs else {})


def kinds_of(manifest: Manifest) -> dict[str, Kind]:
    """Every array that a bundle of this manifest has, by file name."""
    kinds: dict[str, Kind] = {}
    for index, layer in enumerate(manifest.recipe.layers):
        kinds |= _named(f"layer{index}.", MEMORY_PARTS[memory_type(layer.metric)])
    if manifest.head:
        kinds |= _named("head.", HEAD_PARTS)
    if manifest.patch_head:
        kinds |= _named("patch_head.", PATCH_HEAD_PARTS)
    if manifest.upkeep:
        kinds |= _named(remembered.PREFIX, UPKEEP_PARTS)
        for index in range(len(manifest.upkeep.grids)):
            kinds |= _named(f"{remembered.PREFIX}defects{index}.", DEFECT_PARTS)
    return kinds | graph_kinds(manifest.recipe)


def graph_kinds(recipe: Recipe) -> dict[str, Kind]:
    """The arrays of a recipe's int8 graphs, by file name."""
    kinds: dict[str, Kind] = {}
    for size in recipe.input_sizes if recipe.graphs_sha256 else ():
        kinds |= _named(f"{int8_graphs.PREFIX}{size}.", GRAPH_PARTS)
    return kinds


def read_arrays(
    kinds: Mapping[str, Kind], entries: Sequence[ArrayEntry], blobs: Mapping[str, bytes], where: str
) -> dict[str, NDArray[Any]]:
    """The arrays that entries list, each verified, which are those of `kinds` and no others.

    Args:
        kinds: by file name.
        entries: a manifest's.
        blobs: content of every file, by name.
        where: what to call the bundle in messages.

    Raises:
        CorruptBundle: naming the array and what is wrong with it.
    """
    listed = {entry.file: entry for entry in entries}
    if len(listed) < len(entries):
        raise CorruptBundle(f"{where}: its manifest lists an array twice among {sorted(e.file for e in entries)}")
    if missing := [file for file in kinds if file not in listed]:
        raise CorruptBundle(f"{where} has no array {missing[0]!r}, which its manifest calls for")
    if others := listed.keys() - kinds.keys():
        raise CorruptBundle(f"{where}: arrays {sorted(others)} belong to nothing that the manifest describes")
    for file, entry in listed.items():
        found = Kind(entry.dtype, len(entry.shape))
        if found != kinds[file]:
            raise CorruptBundle(f"{where}: {file} is {_words(found)}, and has to be {_words(kinds[file])}")
    return {file: read_array(entry, blobs.get(file, b""), f"{where}: {file}") for file, entry in listed.items()}


def read_memory(index: int, layer: Layer, arrays: Arrays, where: str) -> LayerMemory:
    """A layer's memory; CorruptBundle where its arrays contradict each other, as by the others below."""
    with _whole(where, f"layer {layer.name}"):
        kind = memory_type(layer.metric)
        return kind(**_parts(f"layer{index}.", MEMORY_PARTS[kind], arrays))


def read_head(figures: HeadFigures, arrays: Arrays, where: str) -> Head:
    """The head."""
    with _whole(where, "the head"):
        return Head(figures, **_parts("head.", HEAD_PARTS, arrays))


def read_patch_head(figures: PatchHeadFigures, arrays: Arrays, where: str) -> PatchHead:
    """The patch head."""
    with _whole(where, "the patch head"):
        network = PatchNetwork(**_parts("patch_head.", NETWORK_PARTS, arrays))
        return PatchHead(figures, network, arrays["patch_head.known.npy"])


def read_upkeep(figures: UpkeepFigures, arrays: Arrays, where: str) -> Upkeep:
    """The upkeep."""
    with _whole(where, "the upkeep"):
        return Upkeep.from_arrays(figures, arrays)


def read_graphs(recipe: Recipe, arrays: Arrays, where: str) -> Int8Graphs:
    """The int8 graphs; CorruptBundle also where they are not those that the recipe names."""
    with _whole(where, "the graphs"):
        graphs = Int8Graphs.from_arrays(recipe.input_sizes, {file: arrays[file] for file in graph_kinds(recipe)})
    if graphs.sha256 != recipe.graphs_sha256:
        raise CorruptBundle(f"{where}: graphs of sha256 {graphs.sha256}, the recipe says {recipe.graphs_sha256}")
    return graphs


@contextmanager
def _whole(where: str, what: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise CorruptBundle(f"{where}: {what}: {error}") from error


def _named(prefix: str, parts: Mapping[str, Kind]) -> dict[str, Kind]:
    return {f"{prefix}{part}.npy": kind for part, kind in parts.items()}


def _parts(prefix: str, parts: Iterable[str], arrays: Arrays) -> dict[str, NDArray[Any]]:
    return {part: arrays[f"{prefix}{part}.npy"] for part in parts}


def _written(prefix: str, parts: Mapping[str, Kind], of: object) -> dict[str, NDArray[Any]]:
    return {
        f"{prefix}{part}.npy": np.ascontiguousarray(getattr(of, part), np.dtype(kind.dtype))
        for part, kind in parts.items()
    }


def _words(kind: Kind) -> str:
    return f"{kind.dtype} of {kind.dimensions} dimensions"
