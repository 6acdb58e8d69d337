import numpy as np
import pytest
from numpy.typing import NDArray

from services.trainer.material.rendered_defects import FAMILIES, spoil

pytestmark = pytest.mark.parametrize("family", FAMILIES)


def plate(seed: int, height: int = 96, width: int = 128) -> NDArray[np.uint8]:
    """A grey plate with a texture and a darker frame."""
    random = np.random.default_rng(seed)
    grey = np.clip(random.normal(140, 12, (height, width)), 0, 255)
    grey[: height // 8] -= 80
    grey[:, : width // 8] -= 60
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def drawn(family: str, picture: NDArray[np.uint8], seed: int = 0) -> NDArray[np.uint8]:
    return spoil(picture, plate(99, 80, 90), family, np.random.default_rng(seed))


def test_a_defect_changes_a_part_of_the_picture(family: str) -> None:
    picture = plate(0)
    spoilt = drawn(family, picture)
    assert spoilt.dtype == np.uint8
    assert spoilt.shape == picture.shape
    changed = (spoilt != picture).any(axis=2).mean()
    assert 0 < changed < 0.3


def test_the_same_seed_draws_the_same_defect_and_another_another(family: str) -> None:
    picture = plate(0)
    assert (drawn(family, picture, 1) == drawn(family, picture, 1)).all()
    assert (drawn(family, picture, 1) != drawn(family, picture, 2)).any()


def test_the_good_picture_is_left_alone(family: str) -> None:
    picture = plate(0)
    before = picture.copy()
    drawn(family, picture)
    assert (picture == before).all()


def test_a_grey_picture_stays_grey(family: str) -> None:
    spoilt = drawn(family, plate(0))
    assert (spoilt == spoilt[..., :1]).all()


def test_the_smallest_picture_can_be_spoilt(family: str) -> None:
    assert drawn(family, plate(0, 16, 17)).shape == (16, 17, 3)


def test_an_even_picture_can_be_spoilt(family: str) -> None:
    even = np.full((64, 64, 3), 255, np.uint8)
    assert drawn(family, even).shape == even.shape
