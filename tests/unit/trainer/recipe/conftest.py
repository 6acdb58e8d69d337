from pathlib import Path

import pytest

from services.trainer.material.pictures import PictureFile, find_pictures
from tests.unit.trainer.conftest import draw


@pytest.fixture
def normals(tmp_path: Path) -> tuple[PictureFile, ...]:
    for seed in range(10):
        draw(tmp_path / "normal" / f"{seed}.png", seed)
    return find_pictures(tmp_path / "normal")
