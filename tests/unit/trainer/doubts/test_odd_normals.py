import numpy as np

from services.trainer.doubts.odd_normals import FEWEST, odd_normals


def names(count: int) -> list[str]:
    return [f"{number}.png" for number in range(count)]


def test_what_lies_far_above_all_others_is_named_the_oddest_first() -> None:
    scores = np.append(np.random.default_rng(0).normal(0, 1, 30), [40, 60]).astype(np.float32)
    assert odd_normals(names(32), scores) == ["31.png", "30.png"]


def test_the_end_of_a_long_tail_is_not_odd() -> None:
    scores = np.random.default_rng(0).gumbel(0, 1, 200).astype(np.float32)
    assert odd_normals(names(200), scores) == []


def test_a_picture_more_like_the_others_than_any_is_not_odd() -> None:
    scores = np.append(np.random.default_rng(0).normal(0, 1, 30), -50).astype(np.float32)
    assert odd_normals(names(31), scores) == []


def test_copies_of_one_picture_make_rounding_no_oddity() -> None:
    scores = np.append(np.zeros(20), 0.01).astype(np.float32)
    assert odd_normals(names(21), scores) == []


def test_of_too_few_none_is_called_odd() -> None:
    scores = np.append(np.zeros(FEWEST - 2), 100).astype(np.float32)
    assert odd_normals(names(FEWEST - 1), scores) == []
