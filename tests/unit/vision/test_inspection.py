from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.events import FeatureGrid
from shared.vision.bank import Bank
from shared.vision.calibration import Calibration, LayerCalibration, PlaceSpread, Spread
from shared.vision.errors import UnusableFeatures
from shared.vision.features import quantise
from shared.vision.inspection import inspect, picture_scores
from shared.vision.mask import decode
from shared.vision.memory_bank import build_layer_bank
from shared.vision.patch_head import PatchHead, PatchHeadFigures
from shared.vision.patch_network import PatchNetwork, surety
from shared.vision.promise import Promise
from shared.vision.recipe import Layer, Recipe

RECIPE = Recipe(layers=(Layer(tap="early", pool=1), Layer(tap="late", metric="l2", top_fraction=0.1)))
SHAPES = {"early": (16, 16, 24), "late": (8, 8, 32)}


def make_grids(seed: int, *, odd: tuple[int, int] | None = None, strength: float = 1.0) -> tuple[FeatureGrid, ...]:
    """Features of a chip; `odd` is a patch, in parts of sixteen, that looks like nothing normal."""
    random = np.random.default_rng(seed)
    grids = []
    for layer in RECIPE.layers:
        height, width, channels = SHAPES[layer.tap]
        features = np.ones((height, width, channels)) + random.normal(0, 0.05, (height, width, channels))
        if odd is not None:
            row, column = odd[0] * height // 16, odd[1] * width // 16
            features[row, column, ::2] -= 2 * strength
        grids.append(quantise(layer.name, features.astype(np.float32)))
    return tuple(grids)


@pytest.fixture(scope="module")
def bank() -> Bank:
    def patches(layer: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
        grids = [make_grids(seed)[layer] for seed in range(10)]
        values = np.concatenate([np.frombuffer(grid.values, np.int8) for grid in grids])
        scales = np.concatenate([np.frombuffer(grid.scales, "<f4") for grid in grids])
        return values.reshape(-1, grids[0].channels), scales

    spread = LayerCalibration(
        patch=Spread(mean=0.01, std=0.01),
        place=PlaceSpread(rows=1, columns=1, means=(0.01,), stds=(0.01,)),
        score=Spread(mean=1, std=1),
    )
    promise = Promise(asked_rate=0.01, promised_rate=0.01, confidence=0.95, pictures=299, tolerated=0)
    return Bank(
        product="chip",
        version="",
        feature_space="0" * 16,
        recipe=RECIPE,
        layers=tuple(build_layer_bank(*patches(i), layer.metric) for i, layer in enumerate(RECIPE.layers)),
        calibration=Calibration(layers=(spread, spread), promise=promise),
        threshold=30.0,
        mask_threshold=10.0,
    )


def test_a_normal_chip_passes_without_a_mask(bank: Bank) -> None:
    [inspection] = inspect([make_grids(99)], [(64, 64)], bank)
    assert not inspection.rejected
    assert (inspection.mask, inspection.regions) == (None, ())
    assert inspection.anomaly_map.shape == (16, 16)  # the finest of its grids


def test_an_odd_patch_is_rejected_and_masked_where_it_lies_in_the_original_picture(bank: Bank) -> None:
    [inspection] = inspect([make_grids(99, odd=(4, 12))], [(320, 640)], bank)
    assert inspection.rejected
    assert inspection.mask is not None
    assert (inspection.mask.height, inspection.mask.width) == (320, 640)
    [region] = inspection.regions
    assert region.x <= 12.5 * 40 <= region.x + region.width
    assert region.y <= 4.5 * 20 <= region.y + region.height
    assert decode(inspection.mask)[90, 500] == 1
    assert decode(inspection.mask)[10, 10] == 0


def test_the_map_is_lowered_as_the_bank_was_calibrated_and_the_score_is_not(bank: Bank) -> None:
    lowering = replace(bank, calibration=replace(bank.calibration, map_level=0.5))
    [plain], [lowered] = (inspect([make_grids(99)], [(64, 64)], each) for each in (bank, lowering))
    np.testing.assert_allclose(
        lowered.anomaly_map, plain.anomaly_map - np.median(plain.anomaly_map) / 2, rtol=1e-5, atol=1e-5
    )
    assert lowered.score == plain.score


def test_the_score_grows_with_the_oddity(bank: Bank) -> None:
    chips = [make_grids(99, odd=(4, 12), strength=strength) for strength in (0, 0.2, 0.5, 1)]
    scores = [inspection.score for inspection in inspect(chips, [(64, 64)] * 4, bank)]
    assert scores == sorted(scores)


def test_a_patch_head_adds_to_the_score_where_there_is_no_other_head(bank: Bank) -> None:
    channels = sum(shape[-1] for shape in SHAPES.values())
    sure_of_all = PatchNetwork(
        np.zeros((channels, 1), np.float32), np.zeros(1, np.float32), np.array([1, 3], np.float32)
    )
    figures = PatchHeadFigures(weight=2.0, spread=Spread(mean=0.0, std=0.5), side=4, top_fraction=0.1)
    patch_head = PatchHead(figures, sure_of_all, np.ones(1, np.float32))
    [plain], [taught] = (
        inspect([make_grids(99)], [(64, 64)], each) for each in (bank, replace(bank, patch_head=patch_head))
    )
    assert taught.score - plain.score == pytest.approx(4 * float(surety(np.float32(3))), rel=1e-4)


def test_a_chip_is_judged_the_same_in_any_company(bank: Bank) -> None:
    chips = [make_grids(seed, odd=(seed, seed)) for seed in range(8)]
    together = inspect(chips, [(64, 64)] * 8, bank)
    for chip, in_company in zip(chips, together, strict=True):
        [alone] = inspect([chip], [(64, 64)], bank)
        assert np.array_equal(alone.anomaly_map, in_company.anomaly_map)
        assert (alone.score, alone.mask, alone.regions) == (in_company.score, in_company.mask, in_company.regions)


def test_the_scores_of_many_layers_are_added_alike_in_any_company(bank: Bank) -> None:
    recipe = Recipe(layers=tuple(Layer(tap=f"tap-{number}") for number in range(9)))
    calibrations = [bank.calibration.layers[0]] * 9
    distances = np.random.default_rng(0).random((9, 50, 4, 4), dtype=np.float32)
    together = picture_scores([*distances], recipe, calibrations)
    alone = [picture_scores([*distances[:, [chip]]], recipe, calibrations)[0] for chip in range(50)]
    assert together.tolist() == alone


def test_grids_may_come_in_any_order(bank: Bank) -> None:
    [one], [other] = (inspect([grids], [(64, 64)], bank) for grids in (make_grids(1), make_grids(1)[::-1]))
    assert one.score == other.score


def test_no_chips_are_no_inspections(bank: Bank) -> None:
    assert inspect([], [], bank) == []


def test_the_threshold_itself_passes(bank: Bank) -> None:
    [inspection] = inspect([make_grids(5)], [(64, 64)], bank)
    [again] = inspect([make_grids(5)], [(64, 64)], replace(bank, threshold=inspection.score))
    assert not again.rejected


def test_a_missing_grid_is_refused_by_name(bank: Bank) -> None:
    with pytest.raises(UnusableFeatures, match="late@256/3"):
        inspect([make_grids(0)[:1]], [(64, 64)], bank)


def test_numbers_that_are_not_finite_never_pass(bank: Bank) -> None:
    early, late = make_grids(0)
    scales = np.frombuffer(early.scales, "<f4").copy()
    for poison in (np.nan, np.inf):
        scales[7] = poison
        with pytest.raises(UnusableFeatures, match="finite"), np.errstate(all="ignore"):
            inspect([(replace(early, scales=scales.tobytes()), late)], [(64, 64)], bank)


def test_a_picture_without_pixels_is_refused(bank: Bank) -> None:
    with pytest.raises(UnusableFeatures, match="0 x 64"):
        inspect([make_grids(0)], [(0, 64)], bank)
