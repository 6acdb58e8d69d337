from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.trainer.errors import TrainingError, UnusableGroups
from services.trainer.evaluation.ablation.material import Material, find_material, require_both, sample
from services.trainer.evaluation.ablation.splits import make_splits


@pytest.fixture
def material(chips: Path) -> Material:
    return find_material([chips / "normal"], chips / "abnormal", chips / "groups.csv")


def test_defective_pictures_join_the_group_of_the_good_one_that_was_taken_next_to_them(material: Material) -> None:
    assert material.groups
    group_of = {file.path.name: group for file, group in zip(material.files, material.groups, strict=True)}
    assert group_of["shot_43.png"] == group_of["shot_40.png"] == "part-2"
    assert group_of["shot_183.png"] == "part-9"


def test_a_group_that_the_table_names_for_a_defective_picture_holds(chips: Path, tmp_path: Path) -> None:
    table = tmp_path / "groups.csv"
    table.write_text((chips / "groups.csv").read_text() + "\nshot_43.png,its-own\n")
    material = find_material([chips / "normal"], chips / "abnormal", table)
    assert material.groups
    assert (
        dict(zip((file.path.name for file in material.files), material.groups, strict=True))["shot_43.png"] == "its-own"
    )


def test_no_group_is_on_both_sides_of_a_grouped_split(material: Material) -> None:
    assert material.groups
    groups = np.array(material.groups)
    for split in make_splits(material, 3, seed=0):
        assert sorted([*split.train, *split.test]) == list(range(len(material)))
        for side in (split.train, split.test):
            assert 0 < material.defective[side].sum() < len(side)
        if split.kind == "grouped":
            assert not set(groups[split.train]) & set(groups[split.test])


def test_more_splits_leave_the_first_as_they_were(material: Material) -> None:
    fewer, more = ({split.name: split for split in make_splits(material, count, seed=1)} for count in (1, 3))
    assert len(more) == 3 * len(fewer)
    for name, split in fewer.items():
        np.testing.assert_array_equal(split.test, more[name].test)


def test_groups_that_hold_one_truth_each_cannot_be_split(material: Material) -> None:
    groups = tuple("bad" if defective else "good" for defective in material.defective)
    with pytest.raises(UnusableGroups, match="2 groups cannot be split"):
        make_splits(replace(material, groups=groups), 1, seed=0)


def test_a_sample_keeps_some_of_every_kind(material: Material) -> None:
    few = sample(material, 12, seed=0)
    assert len(few) == 12
    assert set(few.strata) == set(material.strata)
    assert sample(material, 1000, seed=0) is material


def test_four_pictures_of_a_truth_are_too_few(material: Material) -> None:
    with pytest.raises(TrainingError, match="4 defective pictures"):
        require_both(material.chosen(range(24)))
