from pathlib import Path

import numpy as np
import pytest

from services.trainer.material.pictures import PictureFile, find_pictures
from services.trainer.material.rendered_defects import FAMILIES
from services.trainer.progress import silent
from services.trainer.recipe import sample as recipe_sample
from services.trainer.recipe.sample import FOLDS, gather

FEW = ("pit", "bump", "noisy")


@pytest.fixture
def few_families(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe_sample, "FAMILIES", {name: FAMILIES[name] for name in FEW})


@pytest.mark.usefixtures("few_families")
def test_a_group_is_never_on_both_sides_and_a_spoilt_picture_goes_with_its_base(
    normals: tuple[PictureFile, ...],
) -> None:
    groups = [str(index // 2) for index in range(10)]
    sample, _ = gather(normals, groups, (), seed=0, progress=silent)
    assert len({(group, fold) for group, fold in zip(groups, sample.fold_of, strict=True)}) == 5
    assert len(sample.spoilt) == 10 * len(FEW)
    assert (sample.spoilt_fold_of == np.repeat(sample.fold_of, len(FEW))).all()
    assert sample.fold_of.max() < FOLDS


def test_thin_lines_are_drawn_into_more_pictures_than_other_defects(
    normals: tuple[PictureFile, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe_sample, "FAMILIES", {name: FAMILIES[name] for name in ("pit", "crack", "scratch")})
    monkeypatch.setattr(recipe_sample, "BASES", 3)
    monkeypatch.setattr(recipe_sample, "LINE_BASES", 7)
    sample, _ = gather(normals, None, (), seed=0, progress=silent)
    assert [len(set(sample.spoilt_base[sample.families == family])) for family in range(3)] == [3, 7, 7]
    assert len(sample.spoilt) == len(sample.families) == 17
    assert (sample.spoilt_fold_of == sample.fold_of[sample.spoilt_base]).all()


@pytest.mark.usefixtures("few_families")
def test_a_file_that_is_no_picture_is_passed_over(normals: tuple[PictureFile, ...], tmp_path: Path) -> None:
    (tmp_path / "normal" / "broken.png").write_bytes(b"no picture")
    files = find_pictures(tmp_path / "normal")
    sample, sizes_seen = gather(files, None, files[-2:], seed=0, progress=silent)
    assert len(sample.normals) == 10
    assert sizes_seen == [(96, 128)] * 10
    assert [picture.shape for picture in sample.abnormals] == [sample.normals[0].shape]


@pytest.mark.usefixtures("few_families")
@pytest.mark.parametrize("seed", range(4))
def test_one_large_group_leaves_room_for_another(
    normals: tuple[PictureFile, ...], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(recipe_sample, "MAX_NORMALS", 3)
    sample, _ = gather(normals, ["shift"] * 9 + ["other"], (), seed=seed, progress=silent)
    assert len(sample.normals) == 3
    assert sorted(sample.fold_of.tolist()) in ([0, 0, 1], [0, 1, 1])
