from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.trainer.material.picture_features import BATCH
from services.trainer.material.pictures import find_pictures
from services.trainer.material.turned import TURN_NAMES, TURNS, look_at_turned, turned
from shared.events import FeatureGrid
from shared.vision.inspection import layer_patches
from tests.unit.trainer.conftest import RECIPE, ColourEngine, draw

PICTURE = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)


def test_a_picture_is_turned_in_all_ways_that_make_it_another() -> None:
    copies = [turned(PICTURE, turn) for turn in range(len(TURN_NAMES))]
    expected = [PICTURE[:, ::-1], PICTURE[::-1], np.rot90(PICTURE, 2), PICTURE.transpose(1, 0, 2)]
    expected += [np.rot90(PICTURE, -1), np.rot90(PICTURE), np.rot90(PICTURE, 2).transpose(1, 0, 2)]
    for copy, what in zip(copies, expected, strict=True):
        assert np.array_equal(copy, what)
        assert copy.flags.c_contiguous
    assert {copy.shape for copy in copies[:TURNS]} == {PICTURE.shape}


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
