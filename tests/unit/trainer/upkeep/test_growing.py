import tracemalloc

import numpy as np
import pytest

from services.trainer.normality.cross_fit import LayerPatches
from services.trainer.upkeep.growing import _grown_bank
from shared.vision.memory_bank import LayerBank, build_layer_bank
from shared.vision.recipe import Layer

CANDIDATES, REMEMBERED, CHANNELS = 300, 40, 96


def test_a_bank_grows_by_patches_that_are_drawn_without_a_copy_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("shared.vision.memory_bank", "services.trainer.upkeep.growing"):
        monkeypatch.setattr(f"{module}.MAX_CANDIDATES", CANDIDATES)
    random = np.random.default_rng(0)
    values = random.integers(-127, 128, (120, 10, 10, CHANNELS)).astype(np.int8)
    scales = random.uniform(0.01, 0.1, (120, 10, 10)).astype(np.float32)
    old = LayerBank(values[0].reshape(-1, CHANNELS)[:REMEMBERED], scales[0].ravel()[:REMEMBERED])
    chosen = random.random(120) < 0.9
    copied, their_scales = values[chosen].reshape(-1, CHANNELS), scales[chosen].ravel()
    drawn = np.sort(np.random.default_rng(3).choice(len(copied), CANDIDATES - REMEMBERED, replace=False))
    expected = build_layer_bank(
        np.concatenate([old.values, copied[drawn]]), np.concatenate([old.scales, their_scales[drawn]]), "cosine", seed=3
    )
    tracemalloc.start()
    grown = _grown_bank(old, LayerPatches(values, scales), chosen, Layer(tap="x", pool=1), 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(grown, LayerBank)
    assert np.array_equal(grown.values, expected.values)
    assert np.array_equal(grown.scales, expected.scales)
    assert peak < copied.nbytes
