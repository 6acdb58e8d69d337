"""Rendered chips in folders, as a user has them."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from services.cli.demo.render import Defect, render_chip


def render(path: Path, seed: int, defect: Defect | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), render_chip(np.random.default_rng(seed), "soic-8", defect, size=96).picture)


@pytest.fixture(scope="session")
def chips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``normal`` with 20 good chips in ten groups by ``groups.csv``, ``abnormal`` with ten of two kinds."""
    folder = tmp_path_factory.mktemp("chips")
    rows = ["file,group"]
    for number in range(20):
        render(folder / "normal" / f"shot_{number * 10}.png", number)
        rows.append(f"shot_{number * 10}.png,part-{number // 2}")
    kinds = list(Defect)[:2]
    for number in range(10):
        kind = kinds[number % 2]
        render(folder / "abnormal" / str(kind.value) / f"shot_{number * 20 + 3}.png", 100 + number, kind)
    (folder / "groups.csv").write_text("\n".join(rows))
    return folder
