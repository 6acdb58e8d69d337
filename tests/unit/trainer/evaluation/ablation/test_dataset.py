from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.trainer.errors import TrainingError, UnusableGroups
from services.trainer.evaluation.ablation.dataset import Dataset, find_dataset, require_both, sample
from services.trainer.evaluation.ablation.splits import make_splits


@pytest.fixture
def dataset(chips: Path) -> Dataset:
    return find_dataset([chips / "normal"], chips / "abnormal", chips / "groups.csv")


def test_defective_pictures_join_the_group_of_the_good_one_that_was_taken_next_to_them(dataset: Dataset) -> None:
    assert dataset.groups
    group_of = {file.path.name: group for file, group in zip(dataset.files, dataset.groups, strict=True)}
    assert group_of["shot_43.png"] == group_of["shot_40.png"] == "part-2"
    assert group_of["shot_183.png"] == "part-9"


def test_a_group_that_the_table_names_for_a_defective_picture_holds(chips: Path, tmp_path: Path) -> None:
    table = tmp_path / "groups.csv"
    table.write_text((chips / "groups.csv").read_text() + "\nshot_43.png,its-own\n")
    dataset = find_dataset([chips / "normal"], chips / "abnormal", table)
    assert dataset.groups
    assert (
        dict(zip((file.path.name for file in dataset.files), dataset.groups, strict=True))["shot_43.png"] == "its-own"
    )


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
    with pytest.raises(TrainingError, match="4 defective pictures"):
        require_both(dataset.chosen(range(24)))
