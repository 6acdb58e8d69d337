import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.trainer.errors import AmbiguousPictures, NoPictures, TrainingError, UnusableGroups
from services.trainer.evaluation.ablation.dataset import Dataset, find_dataset, require_both, sample
from services.trainer.evaluation.ablation.splits import make_splits
from services.trainer.material.pictures import PictureFile
from shared.vision.errors import UndecodableImage
from tests.unit.trainer.evaluation.ablation.conftest import render


@pytest.fixture
def dataset(chips: Path) -> Dataset:
    return find_dataset([chips / "normal"], chips / "abnormal", chips / "groups.csv")[0]


def test_defective_pictures_join_the_group_of_the_good_one_that_was_taken_next_to_them(dataset: Dataset) -> None:
    assert dataset.groups
    group_of = {file.path.name: group for file, group in zip(dataset.files, dataset.groups, strict=True)}
    assert group_of["shot_43.png"] == group_of["shot_40.png"] == "part-2"
    assert group_of["shot_183.png"] == "part-9"


def test_a_group_that_the_table_names_for_a_defective_picture_holds(chips: Path, tmp_path: Path) -> None:
    table = tmp_path / "groups.csv"
    table.write_text((chips / "groups.csv").read_text() + "\nshot_43.png,its-own\n")
    dataset, _ = find_dataset([chips / "normal"], chips / "abnormal", table)
    assert dataset.groups
    assert (
        dict(zip((file.path.name for file in dataset.files), dataset.groups, strict=True))["shot_43.png"] == "its-own"
    )


def test_defects_that_are_numbered_as_good_pictures_are_join_none_of_their_groups(chips: Path, tmp_path: Path) -> None:
    for number, path in enumerate(sorted((chips / "abnormal").rglob("*.png"))):
        (tmp_path / path.parent.name).mkdir(exist_ok=True)
        (tmp_path / path.parent.name / f"shot_{number * 10}.png").write_bytes(path.read_bytes())
    dataset, _ = find_dataset([chips / "normal"], tmp_path, chips / "groups.csv")
    assert dataset.groups
    of_defects = dataset.groups[dataset.good :]
    assert len(set(of_defects)) == len(of_defects)
    assert not set(of_defects) & set(dataset.groups[: dataset.good])


def test_no_group_is_on_both_sides_of_a_grouped_split(dataset: Dataset) -> None:
    assert dataset.groups
    groups = np.array(dataset.groups)
    for split in make_splits(dataset, 3, seed=0):
        assert sorted([*split.train, *split.test]) == list(range(len(dataset)))
        for side in (split.train, split.test):
            assert 0 < dataset.defective[side].sum() < len(side)
        if split.kind == "grouped":
            assert not set(groups[split.train]) & set(groups[split.test])


def test_more_splits_leave_the_first_as_they_were(dataset: Dataset) -> None:
    fewer, more = ({split.name: split for split in make_splits(dataset, count, seed=1)} for count in (1, 3))
    assert len(more) == 3 * len(fewer)
    for name, split in fewer.items():
        np.testing.assert_array_equal(split.test, more[name].test)


def test_no_grouped_split_comes_twice_where_one_is_nearest_to_a_fifth(dataset: Dataset) -> None:
    sizes = (0.02, 0.08, 0.2, 0.3, 0.4)  # the third alone is a fifth
    groups = tuple(
        name
        for truth in (dataset.good, len(dataset) - dataset.good)
        for name in np.repeat(list("abcde"), np.diff(np.rint(np.cumsum((0, *sizes)) * truth).astype(int)))
    )
    splits = [split for split in make_splits(replace(dataset, groups=groups), 3, seed=0) if split.kind == "grouped"]
    assert len({split.test.tobytes() for split in splits}) == len(splits) == 3


def test_where_there_are_fewer_grouped_splits_than_asked_for_there_are_fewer(dataset: Dataset) -> None:
    groups = tuple("ab"[index % 2] for index in range(len(dataset)))
    splits = make_splits(replace(dataset, groups=groups), 3, seed=0)
    assert [split.name for split in splits] == ["random-0", "random-1", "random-2", "grouped-0", "grouped-1"]


def test_groups_that_hold_one_truth_each_cannot_be_split(dataset: Dataset) -> None:
    groups = tuple("bad" if defective else "good" for defective in dataset.defective)
    with pytest.raises(UnusableGroups, match="2 groups cannot be split"):
        make_splits(replace(dataset, groups=groups), 1, seed=0)


def test_a_sample_keeps_some_of_every_kind(dataset: Dataset) -> None:
    few = sample(dataset, 12, seed=0)
    assert len(few) == 12
    assert set(few.strata) == set(dataset.strata)
    assert sample(dataset, 1000, seed=0) is dataset


def test_four_pictures_of_a_truth_are_too_few(dataset: Dataset) -> None:
    with pytest.raises(TrainingError, match="4 defective pictures, without copies"):
        require_both(dataset.chosen(range(24)))


def test_folders_that_share_pictures_are_refused(chips: Path) -> None:
    with pytest.raises(AmbiguousPictures, match="the same folder"):
        find_dataset([chips / "abnormal", chips / "normal"], chips / "normal", None)
    with pytest.raises(AmbiguousPictures, match="lies below --normal"):
        find_dataset([chips], chips / "abnormal", None)


def test_a_table_of_groups_that_is_not_there_is_refused_before_the_pictures_are_read(
    chips: Path, tmp_path: Path
) -> None:
    def progress(stage: str, done: int, total: int) -> None:
        pytest.fail(f"{stage}: {done} of {total}")

    with pytest.raises(UnusableGroups, match=r"nowhere\.csv: No such file or directory$"):
        find_dataset([chips / "normal"], chips / "abnormal", tmp_path / "nowhere.csv", progress)


def test_a_test_set_with_its_good_pictures_is_refused(chips: Path, tmp_path: Path) -> None:
    copied(chips / "abnormal", tmp_path / "test")
    copied(chips / "normal", tmp_path / "test" / "good")
    with pytest.raises(AmbiguousPictures, match="has a folder 'good'"):
        find_dataset([chips / "normal"], tmp_path / "test", None)


def test_a_picture_that_is_given_as_good_and_as_defective_is_refused(chips: Path, tmp_path: Path) -> None:
    copied(chips / "abnormal", tmp_path / "bad")
    (tmp_path / "bad" / "odd.png").write_bytes((chips / "normal" / "shot_10.png").read_bytes())
    with pytest.raises(AmbiguousPictures, match=r"1 picture.*both as good and as defective.*shot_10\.png.*odd\.png"):
        find_dataset([chips / "normal"], tmp_path / "bad", None)


def test_copies_are_left_out_and_counted(chips: Path, tmp_path: Path) -> None:
    once, nothing = find_dataset([chips / "normal"], chips / "abnormal", None)
    assert nothing.copies == 0
    assert nothing.warnings == ()
    twice, left_out = find_dataset([chips / "normal", copied(chips / "normal", tmp_path)], chips / "abnormal", None)
    assert len(twice) == len(once) == len(set(twice.digests))
    assert left_out.copies == 20
    assert "20 pictures are copies of others" in left_out.warnings[0]


def test_what_cannot_be_read_is_listed_with_the_reason(
    chips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = copied(chips / "normal", tmp_path / "good")
    (good / "broken.png").write_bytes(b"no picture")
    (good / "empty.png").touch()
    read = PictureFile.read

    def no_permission(file: PictureFile) -> bytes:
        if file.name == "shot_50.png":
            raise UndecodableImage("Permission denied")
        return read(file)

    monkeypatch.setattr(PictureFile, "read", no_permission)
    dataset, left_out = find_dataset([good], chips / "abnormal", None)
    assert len(dataset) == 29
    assert {each.name for each in left_out.unreadable} == {"broken.png", "empty.png", "shot_50.png"}
    assert "Permission denied" in {each.why for each in left_out.unreadable}
    assert left_out.copies == 0


def test_a_folder_of_which_nothing_can_be_read_is_refused(chips: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(NoPictures, match=r"not one of 1 pictures in .* can be read: "):
        find_dataset([tmp_path], chips / "abnormal", None)


def test_a_data_set_is_known_again_by_its_pictures_wherever_they_lie(
    chips: Path, dataset: Dataset, tmp_path: Path
) -> None:
    elsewhere = copied(chips / "normal", tmp_path / "good"), copied(chips / "abnormal", tmp_path / "bad")
    moved, _ = find_dataset([elsewhere[0]], elsewhere[1], chips / "groups.csv")
    assert moved.fingerprint() == dataset.fingerprint()
    render(elsewhere[0] / "shot_0.png", seed=999)
    changed, _ = find_dataset([elsewhere[0]], elsewhere[1], chips / "groups.csv")
    assert changed.fingerprint() != dataset.fingerprint()
    assert replace(dataset, groups=None).fingerprint() != dataset.fingerprint()


def copied(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to, dirs_exist_ok=True))
