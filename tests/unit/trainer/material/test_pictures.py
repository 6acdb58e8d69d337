import os
import unicodedata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from services.gateway.folder import look_into
from services.trainer.errors import NoPictures, UnreadableFile, UnusableGroups, UnusableMasks
from services.trainer.material.pictures import (
    PictureFile,
    find_masks,
    find_pictures,
    groups_of_abnormals,
    read_groups,
    read_mask,
)
from shared.vision.picture import decode
from shared.vision.picture_files import PICTURE_SUFFIXES


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def names(pictures: tuple[PictureFile, ...]) -> list[str]:
    return [picture.name for picture in pictures]


def test_folders_are_walked_recursively_and_sorted(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.PNG", "b/1.jpeg", "a.jpg", "notes.txt", ".hidden.png", ".cache/x.png", "b/c/3.webp")
    assert names(find_pictures(tmp_path)) == ["a.jpg", "b/1.jpeg", "b/2.PNG", "b/c/3.webp"]


def test_links_to_folders_are_followed_each_but_once(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/crack/1.png", "bad/pit/2.png")
    (tmp_path / "bad" / "crack").symlink_to(tmp_path / "elsewhere" / "crack")
    (tmp_path / "bad" / "pit" / "up").symlink_to(tmp_path / "bad")
    assert names(find_pictures(tmp_path / "bad")) == ["crack/1.png", "pit/2.png"]


def test_training_sees_the_files_that_the_line_takes(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{suffix[1:]}{suffix}" for suffix in PICTURE_SUFFIXES), "notes.txt")
    assert [picture.path for picture in find_pictures(tmp_path)] == list(look_into(tmp_path).pictures)
    assert len(find_pictures(tmp_path)) == len(PICTURE_SUFFIXES)


def test_a_folder_that_is_not_there_or_has_no_picture_is_said(tmp_path: Path) -> None:
    with pytest.raises(NoPictures, match="not a folder"):
        find_pictures(tmp_path / "nowhere")
    with pytest.raises(NoPictures, match="has no picture"):
        find_pictures(touch(tmp_path, "readme.md"))


def test_groups_go_by_path_below_the_folder_or_by_bare_name(tmp_path: Path) -> None:
    pictures = find_pictures(touch(tmp_path / "normal", "tray1/a.png", "tray2/a.png", "b.png"))
    table = tmp_path / "groups.csv"
    table.write_text("\ufefffile,group\r\ntray1/a.png,1\r\ntray2\\a.png,2\r\nb.png,1\r\n", encoding="utf-8")
    assert read_groups(table, pictures) == ("1", "1", "2")
    table.write_text("group,file\nx,a.png\ny,b.png\n")
    assert read_groups(table, pictures) == ("y", "x", "x")
    table.write_text('file , group\na.png, "tray 1, left"\nb.png, "tray 1, right"\n')
    assert read_groups(table, pictures) == ("tray 1, right", "tray 1, left", "tray 1, left")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name,group\na.png,1\n", "needs 'file' and 'group'"),
        ("file,group\na.png,1\n", "no group for 1 of 2 pictures, for instance b.png"),
        ("file,group\na.png,1\na.png,2\nb.png,1\n", "puts a.png into the groups 1 and 2"),
        ("", "is empty: its first line must be file,group"),
        ("file;group\na.png;1\n", "separates its columns by ';': it needs commas"),
        ("file\tgroup\na.png\t1\n", r"separates its columns by '\\t'"),
    ],
)
def test_groups_that_do_not_fit_are_refused(tmp_path: Path, text: str, complaint: str) -> None:
    pictures = find_pictures(touch(tmp_path / "normal", "a.png", "b.png"))
    table = tmp_path / "groups.csv"
    table.write_text(text)
    with pytest.raises(UnusableGroups, match=complaint):
        read_groups(table, pictures)
    with pytest.raises(UnusableGroups, match="cannot read"):
        read_groups(tmp_path / "nowhere.csv", pictures)


def test_a_bare_name_that_a_good_picture_has_too_names_no_defect(tmp_path: Path) -> None:
    normals = find_pictures(touch(tmp_path / "good", "001.png", "002.png"))
    abnormals = find_pictures(
        touch(tmp_path / "test", "crack/001.png", "scratch/001.png", "scratch/own.png", "002.png")
    )
    table = tmp_path / "groups.csv"
    table.write_text("file,group\n001.png,part-1\n002.png,part-2\n")
    assert groups_of_abnormals(table, abnormals, normals) is None
    table.write_text("file,group\n001.png,part-1\n002.png,part-2\nown.png,part-3\nscratch/001.png,part-4\n")
    assert groups_of_abnormals(table, abnormals, normals) == (
        *("file 002.png", "file crack/001.png", "part-4", "part-3"),
    )


def test_a_name_that_is_no_utf8_is_readable_and_of_one_file_alone(tmp_path: Path) -> None:
    touch(tmp_path, os.fsdecode(b"tray/a\xff.png"), "tray/a\\udcff.png", "b.png")
    pictures = find_pictures(tmp_path)
    assert sorted(names(pictures)) == ["b.png", "tray/a\\udcff.png", "tray/a\\udcff.png~"]
    assert len({picture.path for picture in pictures}) == 3
    table = tmp_path / "groups.csv"
    table.write_text("file,group\ntray/a\\udcff.png,1\ntray/a\\udcff.png~,2\nb.png,3\n")
    assert len(read_groups(table, pictures) or ()) == 3


def test_a_file_that_the_system_does_not_give_is_said_by_name(tmp_path: Path) -> None:
    (gone,) = find_pictures(touch(tmp_path, "a.png"))
    gone.path.unlink()
    with pytest.raises(UnreadableFile, match=r"the file a\.png cannot be read \(No such file"):
        gone.read()


def test_a_file_that_cannot_be_asked_what_it_is_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refuse)
    assert names(find_pictures(touch(tmp_path, "a.png"))) == ["a.png"]


def test_a_folder_that_cannot_be_looked_into_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "open/a.png", "closed/b.png")
    pictures = find_pictures(tmp_path)
    look = os.scandir

    def refuse(path: str) -> Any:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", path)
        return look(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UnreadableFile, match=r"/closed cannot be looked into \(Permission denied\)"):
        find_pictures(tmp_path)
    with pytest.raises(UnreadableFile, match="closed"):
        find_masks(tmp_path, pictures)


def test_masks_mirror_the_abnormal_tree_by_stem(tmp_path: Path) -> None:
    pictures = find_pictures(touch(tmp_path / "abnormal", "crack/1.jpg", "crack/2.jpg", "hole/1.jpg"))
    masks = touch(tmp_path / "masks", "crack/1.png", "hole/1_mask.bmp")
    assert find_masks(masks, pictures) == (masks / "crack/1.png", None, masks / "hole/1_mask.bmp")


def test_letters_that_one_system_writes_composed_and_another_in_parts_are_the_same(tmp_path: Path) -> None:
    composed, in_parts = (unicodedata.normalize(form, "größe/ä 1.png") for form in ("NFC", "NFD"))
    for here, there in ((composed, in_parts), (in_parts, composed)):
        pictures = find_pictures(touch(tmp_path / f"pictures {here!a}", here))
        masks = touch(tmp_path / f"masks {here!a}", there)
        assert find_masks(masks, pictures) == (masks / there,)
        table = tmp_path / "groups.csv"
        table.write_text(f"file,group\n{there},1\n", encoding="utf-8")
        assert read_groups(table, pictures) == ("1",)
        assert groups_of_abnormals(table, pictures, ()) == ("1",)


def test_a_bare_name_in_both_ways_of_writing_it_names_no_defect(tmp_path: Path) -> None:
    composed, in_parts = (unicodedata.normalize(form, "ä.png") for form in ("NFC", "NFD"))
    normals = find_pictures(touch(tmp_path / "good", composed))
    abnormals = find_pictures(touch(tmp_path / "bad", in_parts))
    table = tmp_path / "groups.csv"
    table.write_text(f"file,group\n{composed},1\n", encoding="utf-8")
    assert groups_of_abnormals(table, abnormals, normals) is None


def test_a_table_that_is_not_in_utf8_is_refused_with_what_to_do(tmp_path: Path) -> None:
    table = tmp_path / "groups.csv"
    table.write_text("file,group\nä.png,1\n", encoding="cp1252")
    with pytest.raises(UnusableGroups, match="save it as UTF-8"):
        read_groups(table, ())


def test_masks_that_mirror_nothing_are_refused(tmp_path: Path) -> None:
    pictures = find_pictures(touch(tmp_path / "abnormal", "crack/1.jpg"))
    with pytest.raises(UnusableMasks, match=r"crack/1\.jpg would have crack/1\.png"):
        find_masks(touch(tmp_path / "masks", "1.png"), pictures)


@pytest.mark.parametrize("white", [1, 255])
def test_what_is_not_black_is_defective_at_the_pictures_size(tmp_path: Path, white: int) -> None:
    mask = np.zeros((10, 20), np.uint8)
    mask[:, :10] = white
    cv2.imwrite(str(tmp_path / "m.png"), mask)
    read = read_mask(tmp_path / "m.png", 20, 40)
    assert read.dtype == np.bool_
    assert read[:, :20].all()
    assert not read[:, 20:].any()


def in_a_corner(colour: tuple[int, ...], dtype: str = "uint8") -> NDArray[Any]:
    """16 pixels a side, black but for the first 8."""
    mask = np.zeros((16, 16, len(colour)), dtype)
    mask[:8, :8] = colour
    return mask.squeeze()


@pytest.mark.parametrize("name", ["m.png", "m.tif"])
@pytest.mark.parametrize(
    "mask",
    [in_a_corner((1,), "uint16"), in_a_corner((256,), "uint16"), in_a_corner((0, 0, 1)), in_a_corner((1, 0, 0))],
    ids=["label 1 of 16 bits", "label 256 of 16 bits", "nearly black blue", "nearly black red"],
)
def test_labels_that_are_nearly_black_are_defective(tmp_path: Path, name: str, mask: NDArray[Any]) -> None:
    Image.fromarray(mask).save(tmp_path / name)
    read = read_mask(tmp_path / name, 16, 16)
    assert read.sum() == 64
    assert read[:8, :8].all()


def test_labels_of_whole_and_real_numbers_are_defective(tmp_path: Path) -> None:
    for dtype in ("int32", "float32"):
        Image.fromarray(in_a_corner((1,), dtype)).save(tmp_path / f"{dtype}.tif")
        assert read_mask(tmp_path / f"{dtype}.tif", 16, 16).sum() == 64


def test_a_palettes_colours_are_defective_but_for_black(tmp_path: Path) -> None:
    labels = Image.fromarray(in_a_corner((1,)))
    labels.putpalette([0, 0, 0, 0, 0, 1])
    labels.save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png", 16, 16).sum() == 64


@pytest.mark.parametrize("name", ["m.png", "m.tif"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_opaque_is_not_defective_for_that(tmp_path: Path, name: str, mode: str) -> None:
    Image.fromarray(np.zeros((16, 16), np.uint8)).convert(mode).save(tmp_path / name)
    assert not read_mask(tmp_path / name, 16, 16).any()


@pytest.mark.parametrize(
    ("name", "mode"), [("m.png", "RGBA"), ("m.png", "LA"), ("m.png", "P"), ("m.tif", "RGBA"), ("m.webp", "RGBA")]
)
def test_what_is_transparent_is_not_defective_whatever_its_colour(tmp_path: Path, name: str, mode: str) -> None:
    mask = Image.new("L", (16, 16), 255)  # white all over, as programs leave what nobody has drawn on
    if mode == "P":
        mask = Image.fromarray(in_a_corner((1,)))
        mask.putpalette([255, 255, 255, 255, 0, 0])
        mask.save(tmp_path / name, transparency=0)
    else:
        mask = mask.convert(mode)
        mask.putalpha(Image.fromarray(in_a_corner((255,))))
        mask.save(tmp_path / name, lossless=True)
    read = read_mask(tmp_path / name, 16, 16)
    assert read[:8, :8].all()
    assert read.sum() == 64


@pytest.mark.parametrize("tag", [3, 6])
@pytest.mark.parametrize("name", ["m.jpg", "m.png", "m.webp"])
def test_a_mask_lies_as_it_is_stored_whatever_its_orientation_tag_says(tmp_path: Path, name: str, tag: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = tag
    mask = Image.fromarray(in_a_corner((255,))[:, :12])
    mask.save(tmp_path / name)
    stored = read_mask(tmp_path / name, 16, 12)
    mask.save(tmp_path / name, exif=exif)
    assert np.array_equal(read_mask(tmp_path / name, 16, 12), stored)
    assert stored.sum() == 64


def test_a_tiff_mask_lies_as_a_tiff_picture_of_the_same_tag_does(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(in_a_corner((255, 255, 255))).crop((0, 0, 16, 20)).save(tmp_path / "m.tif", exif=exif)
    picture = decode((tmp_path / "m.tif").read_bytes())
    assert picture.shape == (16, 20, 3)
    assert np.array_equal(read_mask(tmp_path / "m.tif", 16, 20), picture[:, :, 0] > 0)


def test_the_noise_of_a_lossy_mask_is_not_defective(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "m.jpg"), np.full((16, 16), 9, np.uint8))
    assert not read_mask(tmp_path / "m.jpg", 16, 16).any()


@pytest.mark.parametrize("place", range(16))
def test_no_defect_is_too_small_for_the_picture_of_a_larger_mask(tmp_path: Path, place: int) -> None:
    mask = np.zeros((64, 128), np.uint8)
    mask[8 + place, 20 + place] = 255
    cv2.imwrite(str(tmp_path / "m.png"), mask)
    assert np.argwhere(read_mask(tmp_path / "m.png", 16, 32)).tolist() == [[(8 + place) // 4, (20 + place) // 4]]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(height=st.integers(8, 60), width=st.integers(8, 60), side=st.integers(8, 60))
def test_a_mask_of_another_size_lies_in_its_picture_as_its_mirror_image_does_in_a_mirrored_one(
    tmp_path: Path, height: int, width: int, side: int
) -> None:
    """Of odd sides: of even ones a middle may lie between two pixels."""
    mask = np.random.default_rng(height * width).random((2 * side + 1, 2 * side + 1)) < 0.1
    read = []
    for each in (mask, mask[::-1, ::-1]):
        cv2.imwrite(str(tmp_path / "m.png"), each.astype(np.uint8))
        read.append(read_mask(tmp_path / "m.png", 2 * height + 1, 2 * width + 1))
    assert np.array_equal(read[0], read[1][::-1, ::-1])


def test_a_mask_that_is_no_picture_is_refused_by_name(tmp_path: Path) -> None:
    touch(tmp_path, "m.png")
    with pytest.raises(UnusableMasks, match=r"m\.png cannot be decoded"):
        read_mask(tmp_path / "m.png", 16, 16)
