"""A bundle: what is normal for a product, as a manifest and arrays that never change."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.bank.array_file import entry_of, npy, read_array
from shared.bank.errors import CorruptBundle
from shared.bank.manifest import ArrayEntry, Manifest
from shared.bank.upkeep import PREFIX, Upkeep, UpkeepFigures
from shared.vision import int8_graphs
from shared.vision.bank import Bank, LayerMemory, memory_type
from shared.vision.head import Head, HeadFigures
from shared.vision.int8_graphs import Int8Graphs
from shared.vision.memory_bank import LayerBank
from shared.vision.patch_head import PatchHead, PatchHeadFigures
from shared.vision.patch_network import PatchNetwork
from shared.vision.place_memory import PlaceMemory
from shared.vision.recipe import Layer

BANK_PARTS = {"values": "|i1", "scales": "<f4"}
NETWORK_PARTS = {"inward": "<f4", "biases": "<f4", "outward": "<f4"}
PLACE_PARTS = {"mean": "<f4", "deviation": "<f4"}
MEMORY_PARTS: dict[type[LayerMemory], dict[str, str]] = {
    LayerBank: BANK_PARTS,
    PatchNetwork: NETWORK_PARTS,
    PlaceMemory: PLACE_PARTS,
}
HEAD_PARTS = {"centre": "<f4", "scale": "<f4", "support": "<f2", "coefficients": "<f4"}


@dataclass(frozen=True, slots=True)
class Bundle:
    """A manifest and the bank it describes."""

    manifest: Manifest
    bank: Bank
    upkeep: Upkeep | None = None
    """None where normals cannot be added later."""
    graphs: Int8Graphs | None = None
    """Of a recipe in int8."""


def make_bundle(
    bank: Bank,
    *,
    weights_sha256: str,
    training: Mapping[str, Any],
    upkeep: Upkeep | None = None,
    graphs: Int8Graphs | None = None,
    created_at: datetime | None = None,
) -> Bundle:
    """A bundle of a freshly trained bank; its version follows from the time and the content.

    Args:
        bank: what `bank.version` says is replaced.
        weights_sha256: of the backbone's weights; with the recipe it must give `bank.feature_space`.
        training: a summary for people and reports, plain JSON.
        upkeep: what adding normals later needs.
        graphs: of a recipe in int8.
        created_at: now where not given.

    Raises:
        CorruptBundle: a number is not finite, or the parts contradict each other.
    """
    manifest = Manifest.make(
        product=bank.product,
        created_at=created_at or datetime.now(UTC),
        feature_space=bank.feature_space,
        weights_sha256=weights_sha256,
        recipe=bank.recipe,
        threshold=bank.threshold,
        mask_threshold=bank.mask_threshold,
        calibration=bank.calibration,
        head=bank.head.figures if bank.head else None,
        patch_head=bank.patch_head.figures if bank.patch_head else None,
        upkeep=upkeep.figures if upkeep else None,
        training=training,
        arrays=tuple(entry_of(file, array) for file, array in _arrays(bank, upkeep, graphs).items()),
    )
    return Bundle(manifest, replace(bank, version=manifest.version), upkeep, graphs)


def encode(bundle: Bundle) -> dict[str, bytes]:
    """The arrays as files, by name.

    Raises:
        CorruptBundle: they are not what the manifest says, or version or threshold differ between bank and manifest.
    """
    manifest, bank = bundle.manifest, bundle.bank
    learnt = (bank.head.figures if bank.head else None, bank.patch_head.figures if bank.patch_head else None)
    as_said = _bank(manifest, bank.layers, bank.head, bank.patch_head)
    if bank != as_said or (manifest.head, manifest.patch_head) != learnt:
        raise CorruptBundle(f"bank {bank.product} {bank.version} is not what its manifest {manifest.version} says")
    arrays = _arrays(bank, bundle.upkeep, bundle.graphs)
    if manifest.arrays != tuple(entry_of(file, array) for file, array in arrays.items()):
        raise CorruptBundle(f"the arrays of {bank.product} {bank.version} are not those that its manifest lists")
    return {file: npy(array) for file, array in arrays.items()}


def decode(manifest: Manifest, blobs: Mapping[str, bytes], where: str) -> Bundle:
    """A bundle from its manifest and its arrays' files, verified.

    Args:
        manifest: already verified in itself.
        blobs: content of every array's file, by name.
        where: what to call the bundle in messages.

    Raises:
        CorruptBundle: naming the array and what is wrong with it.
    """
    arrays = {
        entry.file: read_array(entry, blobs.get(entry.file, b""), f"{where}: {entry.file}") for entry in manifest.arrays
    }
    layers = [_memory(index, layer, arrays, where) for index, layer in enumerate(manifest.recipe.layers)]
    head = _head(manifest.head, arrays, where) if manifest.head else None
    patch_head = _patch_head(manifest.patch_head, arrays, where) if manifest.patch_head else None
    upkeep = _upkeep(manifest, arrays, where) if manifest.upkeep else None
    graphs = _graphs(manifest, arrays, where) if manifest.recipe.graphs_sha256 else None
    if arrays:
        raise CorruptBundle(f"{where}: arrays {sorted(arrays)} belong to no layer of the recipe")
    return Bundle(manifest, _bank(manifest, tuple(layers), head, patch_head), upkeep, graphs)


def decode_graphs(manifest: Manifest, blobs: Mapping[str, bytes], where: str) -> Int8Graphs:
    """The graphs of a recipe in int8 alone, verified; `blobs` are the files of `graph_entries`.

    Raises:
        CorruptBundle: naming what is wrong with them.
    """
    arrays = {
        entry.file: read_array(entry, blobs.get(entry.file, b""), f"{where}: {entry.file}")
        for entry in graph_entries(manifest)
    }
    return _graphs(manifest, arrays, where)


def graph_entries(manifest: Manifest) -> tuple[ArrayEntry, ...]:
    """The arrays that hold a bundle's int8 graphs."""
    return tuple(entry for entry in manifest.arrays if entry.file.startswith(int8_graphs.PREFIX))


def _graphs(manifest: Manifest, arrays: dict[str, NDArray[Any]], where: str) -> Int8Graphs:
    """Takes the graphs' arrays out of `arrays`."""
    ours = {file: arrays.pop(file) for file in list(arrays) if file.startswith(int8_graphs.PREFIX)}
    try:
        graphs = Int8Graphs.from_arrays(manifest.recipe.input_sizes, ours)
    except KeyError as missing:
        raise CorruptBundle(f"{where}: the graphs have no array {missing}") from missing
    except ValueError as error:
        raise CorruptBundle(f"{where}: {error}") from error
    if graphs.sha256 != manifest.recipe.graphs_sha256:
        raise CorruptBundle(
            f"{where}: graphs of sha256 {graphs.sha256}, the recipe says {manifest.recipe.graphs_sha256}"
        )
    return graphs


def _memory(index: int, layer: Layer, arrays: dict[str, NDArray[Any]], where: str) -> LayerMemory:
    """Takes one layer's arrays out of `arrays`."""
    kind = memory_type(layer.metric)
    try:
        parts = {part: arrays.pop(_file(index, part)) for part in MEMORY_PARTS[kind]}
    except KeyError as missing:
        raise CorruptBundle(f"{where}: layer {layer.name} has no array {missing}") from missing
    for part, array in parts.items():
        if not np.isfinite(array).all() or (part == "scales" and (array < 0).any()):
            wrong = "negative or not finite" if part == "scales" else "not finite"
            raise CorruptBundle(f"{where}: {_file(index, part)} has {part} that are {wrong}")
    try:
        return kind(**parts)
    except ValueError as error:
        raise CorruptBundle(f"{where}: layer {layer.name}: {error}") from error


def _upkeep(manifest: Manifest, arrays: dict[str, NDArray[Any]], where: str) -> Upkeep:
    """Takes the upkeep's arrays out of `arrays`."""
    ours = {file: arrays.pop(file) for file in list(arrays) if file.startswith(PREFIX)}
    try:
        return Upkeep.from_arrays(manifest.upkeep or UpkeepFigures(), ours)
    except KeyError as missing:
        raise CorruptBundle(f"{where}: the upkeep has no array {missing}") from missing
    except ValueError as error:
        raise CorruptBundle(f"{where}: {error}") from error


def _head(figures: HeadFigures, arrays: dict[str, NDArray[Any]], where: str) -> Head:
    """Takes the head's arrays out of `arrays`."""
    try:
        parts = {part: arrays.pop(f"head.{part}.npy") for part in HEAD_PARTS}
        return Head(figures, **parts)
    except KeyError as missing:
        raise CorruptBundle(f"{where}: the head has no array {missing}") from missing
    except ValueError as error:
        raise CorruptBundle(f"{where}: {error}") from error


def _patch_head(figures: PatchHeadFigures, arrays: dict[str, NDArray[Any]], where: str) -> PatchHead:
    """Takes the patch head's arrays out of `arrays`."""
    try:
        network = PatchNetwork(**{part: arrays.pop(f"patch_head.{part}.npy") for part in NETWORK_PARTS})
        return PatchHead(figures, network, arrays.pop("patch_head.known.npy"))
    except KeyError as missing:
        raise CorruptBundle(f"{where}: the patch head has no array {missing}") from missing
    except ValueError as error:
        raise CorruptBundle(f"{where}: {error}") from error


def _bank(manifest: Manifest, layers: tuple[LayerMemory, ...], head: Head | None, patch_head: PatchHead | None) -> Bank:
    return Bank(
        product=manifest.product,
        version=manifest.version,
        feature_space=manifest.feature_space,
        recipe=manifest.recipe,
        layers=layers,
        calibration=manifest.calibration,
        threshold=manifest.threshold,
        mask_threshold=manifest.mask_threshold,
        head=head,
        patch_head=patch_head,
    )


def _arrays(bank: Bank, upkeep: Upkeep | None, graphs: Int8Graphs | None) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    for index, layer in enumerate(bank.layers):
        for part, dtype in MEMORY_PARTS[type(layer)].items():
            arrays[_file(index, part)] = np.ascontiguousarray(getattr(layer, part), np.dtype(dtype))
    if bank.head:
        for part, dtype in HEAD_PARTS.items():
            arrays[f"head.{part}.npy"] = np.ascontiguousarray(getattr(bank.head, part), np.dtype(dtype))
    if bank.patch_head:
        for part, dtype in NETWORK_PARTS.items():
            of_network = getattr(bank.patch_head.network, part)
            arrays[f"patch_head.{part}.npy"] = np.ascontiguousarray(of_network, np.dtype(dtype))
        arrays["patch_head.known.npy"] = np.ascontiguousarray(bank.patch_head.known, "<f4")
    return arrays | (upkeep.arrays() if upkeep else {}) | (graphs.arrays() if graphs else {})


def _file(layer: int, what: str) -> str:
    return f"layer{layer}.{what}.npy"
