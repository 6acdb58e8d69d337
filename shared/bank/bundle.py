"""A bundle: what is normal for a product, as a manifest and arrays that never change."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from shared.bank.array_file import entry_of, npy
from shared.bank.bundle_parts import (
    arrays_of,
    graph_kinds,
    kinds_of,
    read_arrays,
    read_graphs,
    read_head,
    read_memory,
    read_patch_head,
    read_upkeep,
)
from shared.bank.errors import CorruptBundle
from shared.bank.manifest import ArrayEntry, Manifest
from shared.bank.upkeep import Upkeep
from shared.vision import int8_graphs
from shared.vision.bank import Bank, LayerMemory
from shared.vision.head import Head
from shared.vision.int8_graphs import Int8Graphs
from shared.vision.patch_head import PatchHead


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
        bank,
        created_at=created_at or datetime.now(UTC),
        weights_sha256=weights_sha256,
        upkeep=upkeep.figures if upkeep else None,
        training=training,
        arrays=tuple(entry_of(file, array) for file, array in arrays_of(bank, upkeep, graphs).items()),
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
    arrays = arrays_of(bank, bundle.upkeep, bundle.graphs)
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
    arrays = read_arrays(kinds_of(manifest), manifest.arrays, blobs, where)
    layers = tuple(read_memory(index, layer, arrays, where) for index, layer in enumerate(manifest.recipe.layers))
    head = read_head(manifest.head, arrays, where) if manifest.head else None
    patch_head = read_patch_head(manifest.patch_head, arrays, where) if manifest.patch_head else None
    upkeep = read_upkeep(manifest.upkeep, arrays, where) if manifest.upkeep else None
    graphs = read_graphs(manifest.recipe, arrays, where) if manifest.recipe.graphs_sha256 else None
    return Bundle(manifest, _bank(manifest, layers, head, patch_head), upkeep, graphs)


def decode_graphs(manifest: Manifest, blobs: Mapping[str, bytes], where: str) -> Int8Graphs:
    """The graphs of a recipe in int8 alone, verified; `blobs` are the files of `graph_entries`.

    Raises:
        CorruptBundle: naming what is wrong with them.
    """
    arrays = read_arrays(graph_kinds(manifest.recipe), graph_entries(manifest), blobs, where)
    return read_graphs(manifest.recipe, arrays, where)


def graph_entries(manifest: Manifest) -> tuple[ArrayEntry, ...]:
    """The arrays that hold a bundle's int8 graphs."""
    return tuple(entry for entry in manifest.arrays if entry.file.startswith(int8_graphs.PREFIX))


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
