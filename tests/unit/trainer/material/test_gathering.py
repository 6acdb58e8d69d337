from pathlib import Path

import pytest

from services.trainer.errors import UnusableGroups
from services.trainer.material.gathering import Material
from services.trainer.promise.thresholds import Asked


def test_a_table_of_groups_that_is_not_there_is_refused_before_the_pictures_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"a picture")

    def progress(stage: str, done: int, total: int) -> None:
        pytest.fail(f"{stage}: {done} of {total}")

    with pytest.raises(UnusableGroups, match=r"nowhere\.csv: No such file or directory$"):
        Material.gather(tmp_path, None, None, tmp_path / "nowhere.csv", asked=Asked(), progress=progress)
