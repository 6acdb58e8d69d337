import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.bank.array_file import npy
from shared.bank.bundle import decode, encode, make_bundle
from shared.bank.bundle_folder import read_bundle, write_bundle
from shared.bank.bundle_parts import arrays_of
from shared.bank.errors import CorruptBundle
from shared.bank.manifest import Manifest, content_hash
from shared.bank.upkeep import DefectPatches, Upkeep
from shared.vision.head import Head
from shared.vision.patch_head import PatchHead
from tests.banks import UPKEEP_FIGURES as FIGURES
from tests.banks import WEIGHTS, make_bank, make_head, make_patch_head, make_upkeep


def patches(scale: float = 1, place: int = 0) -> DefectPatches:
    return DefectPatches(
        np.ones((1, 2, 3), np.int8), np.full((1, 2), scale, np.float32), np.array([[0, place]], np.int32)
    )


def written(folder: Path, upkeep: Upkeep, head: Head | None = None, patch_head: PatchHead | None = None) -> Path:
    bank = make_bank(head=head, patch_head=patch_head)
    write_bundle(folder / "bundle", make_bundle(bank, weights_sha256=WEIGHTS, training={}, upkeep=upkeep))
    return folder / "bundle"


def test_groups_of_defects_are_read_and_not_written_where_there_are_none(tmp_path: Path) -> None:
    read = read_bundle(written(tmp_path, make_upkeep(figures=replace(FIGURES, defect_groups=("part 1",)))))
    assert read.upkeep is not None
    assert read.upkeep.figures.defect_groups == ("part 1",)
    assert "defect_groups" in (tmp_path / "bundle" / "manifest.json").read_text()
    written(tmp_path, make_upkeep())
    assert "defect_groups" not in (tmp_path / "bundle" / "manifest.json").read_text()


def test_groups_of_other_defects_are_refused(tmp_path: Path) -> None:
    figures = replace(FIGURES, defect_groups=("part 1", "part 2"))
    with pytest.raises(CorruptBundle, match="2 groups of 1 known defects"):
        read_bundle(written(tmp_path, make_upkeep(figures=figures)))


def test_head_and_upkeep_are_read_as_they_were_written(tmp_path: Path) -> None:
    upkeep, head = make_upkeep(), make_head()
    read = read_bundle(written(tmp_path, upkeep, head))
    assert read.upkeep is not None
    assert read.upkeep.figures == FIGURES
    assert read.upkeep.groups == ("tray 1", "tray 2", "tray 1")
    for file, array in upkeep.arrays().items():
        np.testing.assert_array_equal(read.upkeep.arrays()[file], array)
    assert read.bank.head is not None
    assert read.bank.head.figures == head.figures
    for part in ("centre", "scale", "support", "coefficients"):
        np.testing.assert_array_equal(getattr(read.bank.head, part), getattr(head, part))


def test_a_patch_head_is_read_as_it_was_written(tmp_path: Path) -> None:
    patch_head = make_patch_head()
    read = read_bundle(written(tmp_path, make_upkeep(), patch_head=patch_head)).bank.patch_head
    assert read is not None
    assert read.figures == patch_head.figures
    np.testing.assert_array_equal(read.known, patch_head.known)
    for part in ("inward", "biases", "outward"):
        np.testing.assert_array_equal(getattr(read.network, part), getattr(patch_head.network, part))


def test_a_bundle_without_one_says_nothing_of_patch_heads(tmp_path: Path) -> None:
    """So that it stays readable where nothing is known of them."""
    folder = written(tmp_path, make_upkeep(), make_head())
    assert "patch_head" not in (folder / "manifest.json").read_text()


def test_a_bundle_with_both_takes_the_place_of_itself(tmp_path: Path) -> None:
    for _ in range(2):
        written(tmp_path, make_upkeep(), make_head(), make_patch_head())
    assert read_bundle(tmp_path / "bundle").upkeep is not None


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"peaks": np.ones(2, np.float32)}, "scores, peaks and groups"),
        ({"group_of": np.array([0, 1, 2], np.int32)}, "a group that has no name"),
        ({"group_of": np.array([0, -1, 1], np.int32)}, "a group that has no name"),
        ({"figures": replace(FIGURES, grids=((8, 8), (3, 3)))}, "outside their grid"),
        ({"figures": replace(FIGURES, defects=("a.png", "b.png"))}, "outside their grid or their list"),
        ({"layers": (patches(scale=-1), patches())}, "scales and places do not fit"),
        ({"layers": (patches(), patches(place=-1))}, "outside their grid"),
        ({"figures": replace(FIGURES, grids=((8, 8), (4, 4), (2, 2)))}, "has no array 'upkeep.defects2"),
        ({"figures": replace(FIGURES, grids=())}, "belong to nothing that the manifest describes"),
    ],
)
def test_an_upkeep_that_contradicts_itself_is_not_read(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    folder = written(tmp_path, make_upkeep(**changes))
    with pytest.raises(CorruptBundle, match=complaint):
        read_bundle(folder)


EVERY_ARRAY = sorted(
    {f"layer{index}.{part}.npy" for index in range(2) for part in ("values", "scales")}
    | {f"head.{part}.npy" for part in ("centre", "scale", "support", "coefficients")}
    | {f"patch_head.{part}.npy" for part in ("inward", "biases", "outward", "known")}
    | {f"upkeep.{part}.npy" for part in ("scores", "peaks", "groups")}
    | {f"upkeep.defects{index}.{part}.npy" for index in range(2) for part in ("values", "scales", "places")}
)


def forged(file: str, array: np.ndarray) -> tuple[Manifest, dict[str, bytes]]:
    """A whole bundle in which one array is another, with every checksum as it has to be for it."""
    bank = make_bank(head=make_head(), patch_head=make_patch_head())
    bundle = make_bundle(bank, weights_sha256=WEIGHTS, training={}, upkeep=make_upkeep())
    blobs = encode(bundle)
    document = json.loads(bundle.manifest.to_json())
    assert sorted(blobs) == EVERY_ARRAY
    entry = next(entry for entry in document["arrays"] if entry["file"] == file)
    blobs[file] = npy(array)
    digest = hashlib.sha256(blobs[file]).hexdigest()
    entry |= {"dtype": array.dtype.str, "shape": array.shape, "size": len(blobs[file]), "sha256": digest}
    document["version"] = f"{document['version'][:15]}-{content_hash(document)[:8]}"
    return Manifest.from_json(json.dumps(document)), blobs


def array_of(file: str) -> np.ndarray:
    bank = make_bank(head=make_head(), patch_head=make_patch_head())
    return arrays_of(bank, make_upkeep(), None)[file]


def test_a_bundle_forged_with_its_own_arrays_is_sound() -> None:
    """Or the tests below would prove nothing."""
    for file in EVERY_ARRAY:
        manifest, blobs = forged(file, array_of(file))
        assert decode(manifest, blobs, "the bundle").upkeep is not None


@pytest.mark.parametrize("file", EVERY_ARRAY)
def test_an_array_of_another_kind_than_its_place_takes_is_not_read(file: str) -> None:
    sound = array_of(file)
    for dtype in ("|b1", "|i1", "|u1", "<i4", "<i8", "<f2", "<f4", ">f4", "<f8", "<c8", "<U1", "|S1", "<M8[s]"):
        array = np.zeros(sound.shape, dtype)
        if array.dtype == sound.dtype:
            continue
        with pytest.raises(CorruptBundle, match=rf"^the bundle: {file} is .*, and has to be .*{sound.ndim} dimensions"):
            decode(*forged(file, array), "the bundle")
    for shape in ((), (1,), (1, 1), (1, 1, 1), (1, 1, 1, 1)):
        if len(shape) == sound.ndim:
            continue
        with pytest.raises(CorruptBundle, match=rf"^the bundle: {file} is .*, and has to be .*{sound.ndim} dimensions"):
            decode(*forged(file, np.ones(shape, sound.dtype)), "the bundle")


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("file", EVERY_ARRAY)
def test_an_array_with_a_number_that_is_none_is_not_read(file: str, number: float) -> None:
    array = np.array(array_of(file))
    if array.dtype.kind != "f":
        return
    array.flat[-1] = number
    with pytest.raises(CorruptBundle, match=rf"^the bundle: {file} has numbers that are not finite"):
        decode(*forged(file, array), "the bundle")


@pytest.mark.parametrize("file", ["head.support.npy", "patch_head.known.npy", "upkeep.scores.npy"])
def test_damage_to_head_or_upkeep_is_found(tmp_path: Path, file: str) -> None:
    folder = written(tmp_path, make_upkeep(), make_head(), make_patch_head())
    data = bytearray((folder / file).read_bytes())
    data[-1] ^= 1
    (folder / file).write_bytes(data)
    with pytest.raises(CorruptBundle, match=file):
        read_bundle(folder)
