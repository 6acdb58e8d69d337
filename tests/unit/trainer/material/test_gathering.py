from pathlib import Path

import pytest

from services.trainer.errors import UnusableGroups
from services.trainer.material.copies import Distinct
from services.trainer.material.gathering import Material
from services.trainer.material.masks import Masks
from services.trainer.material.pictures import find_pictures
from services.trainer.promise.thresholds import Asked


def test_a_table_of_groups_that_is_not_there_is_refused_before_the_pictures_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"a picture")

    def progress(stage: str, done: int, total: int) -> None:
        pytest.fail(f"{stage}: {done} of {total}")

    with pytest.raises(UnusableGroups, match=r"nowhere\.csv: No such file or directory$"):
        Material.gather(tmp_path, None, None, tmp_path / "nowhere.csv", asked=Asked(), progress=progress)


def test_copies_of_good_and_of_defective_pictures_are_counted_together(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.png").write_bytes(b"a picture")
    files = find_pictures(tmp_path)
    material = Material(Distinct.of(files), Distinct.of(files[:2]), Masks.find(None, ()), ())
    assert material.summary["copies"] == 3 + 1
