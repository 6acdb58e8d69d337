from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.trainer.picture_features import BATCH
from services.trainer.pictures import find_pictures
from services.trainer.turned import TURNS, look_at_turned, mirrored
from shared.events import FeatureGrid
from shared.vision.inspection import layer_patches
from tests.unit.trainer.conftest import RECIPE, ColourEngine, draw

PICTURE = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)


def test_a_picture_is_mirrored_left_to_right_upside_down_and_both() -> None:
    assert [mirrored(PICTURE, turn)[0, 0].tolist() for turn in range(TURNS)] == [
        PICTURE[0, -1].tolist(),
        PICTURE[-1, 0].tolist(),
        PICTURE[-1, -1].tolist(),
    ]
    for turn in range(TURNS):
        assert np.array_equal(mirrored(mirrored(PICTURE, turn), turn), PICTURE)


def features(batches: list[list[tuple[FeatureGrid, ...]]]) -> NDArray[np.float32]:
    return layer_patches([copy for batch in batches for copy in batch], RECIPE.layers[0]).features


def test_copies_are_looked_at_in_the_order_that_they_were_asked_for(tmp_path: Path) -> None:
    for seed in range(BATCH + 1):
        draw(tmp_path / f"{seed:02}.png", seed, defect=(seed * 4, 10))
    files = find_pictures(tmp_path)
    asked = np.arange(BATCH + 1)[::-1]
    told: list[tuple[str, int, int]] = []
    look = look_at_turned(files, RECIPE, ColourEngine(), lambda *done: told.append(done))
    looked = [list(look(asked, np.full(len(asked), turn))) for turn in range(TURNS)]
    assert [len(batch) for batch in looked[0]] == [BATCH, 1]
    assert told[1][1:] == (BATCH + 1, BATCH + 1)
    left_to_right, upside_down, both = (features(batches) for batches in looked)
    assert np.allclose(left_to_right[:, ::-1, ::-1], upside_down, atol=2)  # quantised to 127 steps
    assert np.allclose(left_to_right[:, ::-1], both, atol=2)
    assert not np.allclose(left_to_right, both, atol=20)
    blots = left_to_right[..., 0].mean(axis=2).argmax(axis=1)  # rows, from the lowest blot to the highest
    assert (np.diff(blots) <= 0).all()
    assert blots[0] > blots[-1]
