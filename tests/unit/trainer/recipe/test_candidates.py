import pytest

from services.trainer.recipe.candidates import LARGEST, SMALLEST, candidates, input_sizes


def test_small_pictures_are_tried_at_the_smallest_size_alone() -> None:
    assert input_sizes([(120, 160)]) == (SMALLEST,)


def test_pictures_are_tried_reduced_and_a_little_enlarged() -> None:
    assert input_sizes([(300, 300)]) == (256, 384)


def test_large_pictures_are_tried_at_three_sizes_up_to_the_bound() -> None:
    assert input_sizes([(640, 640)]) == (256, 384, LARGEST)
    assert input_sizes([(4000, 6000)]) == (256, 384, LARGEST)


def test_one_odd_picture_decides_nothing() -> None:
    assert input_sizes([(300, 300)] * 9 + [(4000, 4000)]) == (256, 384)


@pytest.mark.parametrize("input_size", [256, 640])
def test_candidates_go_from_early_to_late_layers_of_one_size(input_size: int) -> None:
    tried = candidates(input_size)
    assert [layer.tap for layer in tried] == ["b4", "b7", "b10", "b12", "b14"]
    assert {layer.input_size for layer in tried} == {input_size}


def test_of_early_layers_as_many_patches_count_at_every_size() -> None:
    for input_size in (256, 384, 640):
        b4, b7, *_ = candidates(input_size)
        assert b4.top_fraction * (input_size / 8) ** 2 == pytest.approx(10.24, rel=0.01)
        assert b7.top_fraction * (input_size / 16) ** 2 == pytest.approx(2.56, rel=0.01)
