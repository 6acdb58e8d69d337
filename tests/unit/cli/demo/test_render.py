import numpy as np
import pytest

from services.cli.demo.render import PRODUCTS, Defect, render_chip
from shared.errors import ConfigurationError


@pytest.mark.parametrize("product", PRODUCTS)
def test_a_chip_is_the_same_for_the_same_seed_and_another_for_another(product: str) -> None:
    first, again, other = (render_chip(np.random.default_rng(seed), product).picture for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 1


@pytest.mark.parametrize("product", PRODUCTS)
def test_a_good_chip_has_an_empty_mask(product: str) -> None:
    chip = render_chip(np.random.default_rng(3), product, size=160)
    assert chip.picture.shape == (160, 160, 3)
    assert chip.picture.dtype == np.uint8
    assert not chip.mask.any()


@pytest.mark.parametrize("defect", Defect)
@pytest.mark.parametrize("product", PRODUCTS)
def test_a_defect_changes_the_picture_where_its_mask_says(product: str, defect: Defect) -> None:
    for seed in range(4):
        chip = render_chip(np.random.default_rng(seed), product, defect)
        assert 20 < chip.mask.sum() < 0.4 * chip.mask.size
        # Marking, leads and stains stand out against their own surroundings, whatever the light.
        assert chip.picture[chip.mask].std() > 2


def test_an_unknown_product_is_named_with_those_there_are() -> None:
    with pytest.raises(ConfigurationError, match=r"'dip-14'.*soic-8"):
        render_chip(np.random.default_rng(0), "dip-14")
