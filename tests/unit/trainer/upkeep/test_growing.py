import tracemalloc
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from services.trainer.known_defects.head import refit
from services.trainer.known_defects.patch_head import answers_to
from services.trainer.normality.cross_fit import LayerPatches
from services.trainer.progress import silent
from services.trainer.upkeep.growing import _grown_bank, grow
from services.trainer.upkeep.swallowing import known_scores
from shared.vision.features import quantise
from shared.vision.memory_bank import LayerBank, build_layer_bank
from shared.vision.recipe import Layer, Recipe
from tests.banks import make_bank, make_head, make_patch_head, make_upkeep

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


def test_heads_count_in_what_new_normals_and_known_defects_score_as_if_those_had_taught_them_nothing() -> None:
    layers, random = (Layer(tap="a"), Layer(tap="b")), np.random.default_rng(0)
    grids = [
        [quantise(each.name, random.normal(0, 1, (4, 4, 3)).astype(np.float32)) for each in layers] for _ in "abcd"
    ]
    added, upkeep = SimpleNamespace(grids=[tuple(each) for each in grids]), make_upkeep()
    head, patch_head = make_head(12), make_patch_head()
    head.support[0] = -1
    plain = make_bank(recipe=Recipe(layers=layers))
    with_heads = replace(plain, head=head, patch_head=patch_head)

    before, grown = (grow(bank, upkeep, added, tuple("abcd"), seed=0, progress=silent) for bank in (plain, with_heads))

    assert grown.head is not None
    of_normals = head.scores(grown.head.normals[:, None])
    of_normals += patch_head.scores(answers_to(added.grids, plain.recipe, patch_head))
    assert (of_normals != 0).all()
    assert grown.scores - before.scores == pytest.approx([0, 0, 0, *of_normals], rel=1e-4)
    of_patches = patch_head.scores(patch_head.known)
    assert grown.defects - before.defects == pytest.approx(
        head.scores(grown.head.defects[:, None]) + of_patches, rel=1e-4
    )
    untaught = refit(head, 1, np.empty((0, 12), np.float32), ()).defects[:, None]
    assert untaught < head.answers(np.ones((1, 12), np.float32))[0, 0]
    assert known_scores(with_heads, upkeep) - known_scores(plain, upkeep) == pytest.approx(
        head.scores(untaught) + of_patches, rel=1e-4
    )
