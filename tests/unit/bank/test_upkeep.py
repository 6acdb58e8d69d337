from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.bank.bundle import make_bundle
from shared.bank.bundle_folder import read_bundle, write_bundle
from shared.bank.errors import CorruptBundle
from shared.bank.upkeep import DefectPatches, Upkeep, UpkeepFigures
from shared.vision.calibration import Spread
from shared.vision.head import Head, HeadFigures
from shared.vision.patch_head import PatchHead, PatchHeadFigures
from shared.vision.patch_network import PatchNetwork
from tests.banks import WEIGHTS, make_bank

FIGURES = UpkeepFigures(groups=("tray 1", "tray 2"), defects=("a.png",), kinds=("crack",), grids=((8, 8), (4, 4)))


def make_upkeep(**changes: Any) -> Upkeep:
    patches = DefectPatches(np.ones((1, 2, 3), np.int8), np.ones((1, 2), np.float32), np.array([[0, 15]], np.int32))
    fields: dict[str, Any] = {
        "figures": FIGURES,
        "scores": np.array([0.5, 1.5, 2.5], np.float32),
        "peaks": np.array([1, 2, 3], np.float32),
        "group_of": np.array([0, 1, 0], np.int32),
        "layers": (patches, patches),
    }
    return Upkeep(**fields | changes)


def make_head() -> Head:
    figures = HeadFigures(weight=1.5, spread=Spread(mean=-1, std=0.1), gamma=0.5, offsets=(0.0, 0.5), kinds=("crack",))
    return Head(
        figures,
        np.zeros(6, np.float32),
        np.ones(6, np.float32),
        np.ones((2, 6), np.float16),
        np.ones((2, 2), np.float32),
    )


def make_patch_head() -> PatchHead:
    figures = PatchHeadFigures(weight=0.5, spread=Spread(mean=-2, std=1), side=16, top_fraction=0.02)
    network = PatchNetwork(np.ones((6, 2), np.float32), np.ones(2, np.float32), np.ones(3, np.float32))
    return PatchHead(figures, network, np.array([1.5], np.float32))


def written(folder: Path, upkeep: Upkeep, head: Head | None = None, patch_head: PatchHead | None = None) -> Path:
    bank = make_bank(head=head, patch_head=patch_head)
    write_bundle(folder / "bundle", make_bundle(bank, weights_sha256=WEIGHTS, training={}, upkeep=upkeep))
    return folder / "bundle"


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
        ({"figures": replace(FIGURES, grids=((8, 8), (4, 4), (2, 2)))}, "has no array 'upkeep.defects2"),
        ({"figures": replace(FIGURES, grids=())}, "belong to no more than 0 layers"),
    ],
)
def test_an_upkeep_that_contradicts_itself_is_not_read(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    folder = written(tmp_path, make_upkeep(**changes))
    with pytest.raises(CorruptBundle, match=complaint):
        read_bundle(folder)


@pytest.mark.parametrize("file", ["head.support.npy", "patch_head.known.npy", "upkeep.scores.npy"])
def test_damage_to_head_or_upkeep_is_found(tmp_path: Path, file: str) -> None:
    folder = written(tmp_path, make_upkeep(), make_head(), make_patch_head())
    data = bytearray((folder / file).read_bytes())
    data[-1] ^= 1
    (folder / file).write_bytes(data)
    with pytest.raises(CorruptBundle, match=file):
        read_bundle(folder)
