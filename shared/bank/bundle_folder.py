"""A bundle as a folder of files that never change.

    <bundle>/
      manifest.json            what it is, and the sha256 of every array
      layer0.values.npy        (M, C) int8     the recipe's first layer
      layer0.scales.npy        (M,) float32
      layer1.values.npy        …
      layer1.mean.npy          (h, w, C) float32  a layer by place has means and deviations instead,
      layer2.inward.npy        (C, H) float32  and a learnt one a network:
      layer2.biases.npy        (H,) float32
      layer2.outward.npy       (H + 1,) float32
      head.support.npy         (M, D) float16  and so on, where a head was learnt from pictures of defects
      patch_head.inward.npy    (C, H) float32  and so on, where a patch head was
      upkeep.scores.npy        (N,) float32    and so on: what adding normals later needs
      graph256.topology.npy    bytes           and graph256.weights.npy: int8 graphs, where there are any

Nothing in it is ever unpickled.
"""

import os
import shutil
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path

from shared.bank.bundle import Bundle, decode, encode
from shared.bank.bundle_parts import PREFIXES
from shared.bank.errors import CorruptBundle, NotABundle, UnreadableBundle, UnwritableBundle
from shared.bank.manifest import FORMAT, Manifest

MANIFEST = "manifest.json"


def write_bundle(directory: Path, bundle: Bundle) -> None:
    """Write the folder, whole or not at all; a bundle that stands there is replaced.

    Raises:
        NotABundle: `directory` holds something else, or lies in another bundle.
        UnwritableBundle: nothing can be written there.
        CorruptBundle: bank and manifest contradict each other.
    """
    directory = directory.resolve()
    check_writable(directory)
    files = {MANIFEST: bundle.manifest.to_json().encode(), **encode(bundle)}
    try:
        _replace(directory, files)
    except OSError as error:
        raise UnwritableBundle(f"no bundle can be written to {directory}: {error}") from error


def check_writable(directory: Path) -> None:
    """Raise what `write_bundle` would raise for want of a place, before the work whose outcome it is.

    Raises:
        NotABundle: `directory` holds something else, or lies in another bundle.
        UnwritableBundle: nothing can be written there.
    """
    try:
        for folder in directory.parents:
            if _has_manifest(folder):  # which nothing could replace any more, for what is in it
                raise NotABundle(f"{directory} lies in the bundle {folder}: name a folder outside it")
        _refuse_to_overwrite(directory)
        if directory.is_mount():
            raise UnwritableBundle(
                f"no bundle can be written to {directory}, where a file system is mounted: a bundle's folder is "
                "replaced as a whole; name a folder in it"
            )
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}.try-"):
            pass
    except OSError as error:
        raise UnwritableBundle(
            f"no bundle can be written to {directory}: {error.strerror or error}; name another folder"
        ) from error


def read_bundle(directory: Path) -> Bundle:
    """Read and verify everything.

    Raises:
        NotABundle: there is no bundle at `directory`.
        UnreadableBundle: the system does not give its files.
        CorruptBundle: it is damaged, incomplete or contradicts itself.
    """
    try:
        manifest, blobs = _read(directory)
    except OSError as error:
        raise UnreadableBundle(f"the bundle at {directory} cannot be read ({error.strerror or error})") from error
    return decode(manifest, blobs, str(directory))


def _read(directory: Path) -> tuple[Manifest, dict[str, bytes]]:
    path = directory / MANIFEST
    if not path.is_file():
        raise NotABundle(f"no bundle at {directory}: there is no {MANIFEST}; `chipsieve train --out` makes one")
    manifest = Manifest.from_json(path.read_bytes(), str(path))
    blobs = {}
    for entry in manifest.arrays:
        file = directory / Path(entry.file).name
        if not file.is_file() or file.stat().st_size != entry.size:
            raise CorruptBundle(f"{file} is missing or has not the {entry.size} bytes that {path} says")
        blobs[entry.file] = file.read_bytes()
    return manifest, blobs


def _replace(directory: Path, files: Mapping[str, bytes]) -> None:
    token = uuid.uuid4().hex[:8]  # the names are then as long as the one that `check_writable` tries
    new, old = (directory.with_name(f".{directory.name}.{kind}-{token}") for kind in ("new", "old"))
    new.mkdir()
    try:
        for name, data in files.items():
            _write_durably(new / name, data)
        if directory.exists():
            directory.rename(old)
        new.rename(directory)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        if old.exists() and not directory.exists():
            old.rename(directory)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _refuse_to_overwrite(directory: Path) -> None:
    if not directory.exists():
        return
    if not directory.is_dir():
        raise NotABundle(f"{directory} is a file: name a folder for the bundle")
    names = {path.name for path in directory.iterdir()}
    if not names:
        return
    ours = {name for name in names if name == MANIFEST or (name.startswith(PREFIXES) and name.endswith(".npy"))}
    if ours != names or not _has_manifest(directory):
        raise NotABundle(f"{directory} holds something other than a bundle: name an empty or new folder")


def _has_manifest(directory: Path) -> bool:
    manifest = directory / MANIFEST
    return manifest.is_file() and FORMAT.split("/")[0].encode() in manifest.read_bytes()


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
