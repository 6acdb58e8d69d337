from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared.bank.bundle import Bundle
from shared.bank.bundle_folder import check_writable, read_bundle, write_bundle
from shared.bank.errors import CorruptBundle, NotABundle, UnreadableBundle, UnwritableBundle
from shared.vision.recipe import Layer, Recipe
from tests.banks import make, make_bank, make_head


def test_a_bank_that_is_not_its_manifests_is_not_written(tmp_path: Path) -> None:
    bundle = make()
    with pytest.raises(CorruptBundle, match="is not what its manifest"):
        write_bundle(tmp_path / "bundle", Bundle(bundle.manifest, make_bank(threshold=1.0)))
    with pytest.raises(CorruptBundle, match="is not what its manifest"):
        write_bundle(tmp_path / "bundle", Bundle(bundle.manifest, replace(bundle.bank, head=make_head())))
    with pytest.raises(CorruptBundle, match="are not those that its manifest lists"):
        write_bundle(tmp_path / "bundle", Bundle(bundle.manifest, make_bank(seed=9, version=bundle.manifest.version)))
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_takes_the_place_of_a_bundle(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", make(seed=1))
    three = Recipe(layers=(Layer(tap="b2"), Layer(tap="b4"), Layer(tap="b7")))
    write_bundle(tmp_path / "bundle", make(recipe=three))
    write_bundle(tmp_path / "bundle", make(seed=2))
    assert read_bundle(tmp_path / "bundle").manifest == make(seed=2).manifest
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    assert len(list((tmp_path / "bundle").iterdir())) == 5


def test_a_bundle_is_written_into_an_empty_folder_and_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    write_bundle(tmp_path / "link", make())
    assert (tmp_path / "link").is_symlink()
    assert read_bundle(tmp_path / "empty").manifest == make().manifest


@pytest.mark.parametrize("others", [["holiday.jpg"], ["manifest.json"], ["holiday.jpg", "manifest.json", "layer0.npy"]])
def test_a_folder_that_is_no_bundle_is_never_overwritten(tmp_path: Path, others: list[str]) -> None:
    for name in others:
        (tmp_path / name).write_text('{"manifest_version": 1}')
    with pytest.raises(NotABundle, match="holds something other than a bundle"):
        write_bundle(tmp_path, make())
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)


def test_a_file_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "bundle").write_text("precious")
    with pytest.raises(NotABundle, match="is a file"):
        write_bundle(tmp_path / "bundle", make())


@pytest.mark.parametrize("name", ["notes.txt", "layer0.png", "embeddings.npy"])
def test_a_bundle_with_something_of_the_users_in_it_is_not_overwritten(written: Path, name: str) -> None:
    (written / name).write_text("do not lose")
    with pytest.raises(NotABundle):
        write_bundle(written, make(seed=1))
    assert (written / name).read_text() == "do not lose"


@pytest.mark.parametrize("name", ["newer", "newer/soic-8"])
def test_a_bundle_is_not_written_into_another_which_nothing_could_replace_then(written: Path, name: str) -> None:
    with pytest.raises(NotABundle, match=f"{name} lies in the bundle {written}: name a folder outside it"):
        check_writable(written / name)
    assert not (written / "newer").exists()


@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.rename"])
def test_a_write_that_fails_half_way_leaves_the_old_bundle(
    written: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    rename = Path.rename

    def full_disk(what: object, *others: Any) -> Any:
        if isinstance(what, Path) and ".new-" not in what.name:  # the old one makes way
            return rename(what, *others)
        raise OSError("no space left on device")

    monkeypatch.setattr(call, full_disk)
    with pytest.raises(UnwritableBundle, match="no space"):
        write_bundle(written, make(seed=1))
    assert read_bundle(written).manifest == make().manifest
    assert [path.name for path in written.parent.iterdir()] == ["bundle"]


def test_a_bundle_that_the_system_does_not_give_is_said(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(UnreadableBundle, match=r"bundle cannot be read \(Permission denied\)"):
        read_bundle(written)
    with pytest.raises(UnwritableBundle, match="Permission denied"):
        check_writable(written)


def test_a_name_that_is_too_long_is_refused_before_the_work(tmp_path: Path) -> None:
    for length in range(230, 256):
        folder = tmp_path / ("n" * length)
        try:
            check_writable(folder)
        except UnwritableBundle:
            break
        write_bundle(folder, make())
    assert length < 255
    assert folder.with_name("n" * (length - 1)).exists()


def test_a_mounted_folder_is_refused_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_mount", lambda path: path == tmp_path)
    with pytest.raises(UnwritableBundle, match=r"where a file system is mounted.*name a folder in it"):
        check_writable(tmp_path)
    check_writable(tmp_path / "bundle")


@pytest.mark.parametrize("where", ["nowhere", "."])
def test_a_path_without_a_bundle_is_named(tmp_path: Path, where: str) -> None:
    with pytest.raises(NotABundle, match="no bundle at"):
        read_bundle(tmp_path / where)
