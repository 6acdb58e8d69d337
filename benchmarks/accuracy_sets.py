"""What is measured of each set of pictures; `benchmarks.accuracy` explains their layouts."""

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from services.trainer.errors import PromiseRefused
from services.trainer.evaluation.ablation.dataset import Dataset, find_dataset
from services.trainer.evaluation.ablation.results import MEASURES
from services.trainer.evaluation.ablation.splits import Split, make_splits
from services.trainer.evaluation.ablation.study import ablate
from services.trainer.evaluation.evaluate import evaluate
from services.trainer.material.pictures import PictureFile, find_pictures, read_groups
from services.trainer.progress import silent
from services.trainer.promise.thresholds import Asked
from services.trainer.recipe.file import read_recipe
from services.trainer.recipe.search import search_recipe
from services.trainer.train import train
from shared.vision.engine import EngineKind
from shared.vision.engines.precision import best_precision
from shared.vision.recipe import Recipe

GROUP_SPLITS = 5
PROMISE_SPLITS = 10
RATE, STRICT_RATE, CONFIDENCE = 0.05, 0.01, 0.9  # of false rejects, as asked for by name
SUPERVISED_SEEDS = (0, 1, 2)
TEST_SHARE = 0.2  # of the groups' pictures
ENGINE: EngineKind = "openvino"

Figures: TypeAlias = dict[str, Any]
Measure: TypeAlias = Callable[[Path], Figures]
"""Takes a folder to work in, which may hold what an interrupted measurement left."""


@dataclass(frozen=True, slots=True)
class Tested:
    """Folders that a bundle is tried on."""

    normal: Path
    abnormal: Path
    masks: Path | None = None


def plan_of_tiles(tiles: Path, seed: int) -> dict[str, Measure]:
    """All that is measured of a set of grouped pictures, by name."""
    plan: dict[str, Measure] = {"given split": partial(_given, tiles, seed)}
    for number in range(GROUP_SPLITS):
        plan[f"group split {number}"] = partial(_group_split, tiles, number, seed)
    for number in range(PROMISE_SPLITS):
        plan[f"promise {number}"] = partial(_promise, tiles, number, seed)
    for number in SUPERVISED_SEEDS:
        for kind in ("random", "grouped", "marked"):
            plan[f"supervised {kind} {number}"] = partial(_supervised, tiles, kind, number)
    return plan | {"ablate quick": partial(_ablate, tiles, seed)}


def _given(tiles: Path, seed: int, work: Path) -> Figures:
    test = tiles / "test"
    return _train_and_evaluate(
        work,
        normal=tiles / "train" / "normal",
        groups=tiles / "groups.csv",
        seed=seed,
        tested=Tested(test / "normal", test / "abnormal", test / "masks"),
    )


def _group_split(tiles: Path, number: int, seed: int, work: Path) -> Figures:
    learnt, tested = _split_by_group(tiles, number, seed)
    return _train_and_evaluate(
        work,
        normal=_linked(learnt, work / "train"),
        groups=tiles / "groups.csv",
        seed=seed,
        tested=Tested(_linked(tested, work / "test"), tiles / "test" / "abnormal"),
    )


def _promise(tiles: Path, number: int, seed: int, work: Path) -> Figures:
    """A promise is kept or refused whatever the recipe: that of the given split is taken where it was found already."""
    learnt, tested = _split_by_group(tiles, 100 + number, seed)
    normal, held_out = _linked(learnt, work / "train"), _linked(tested, work / "test")
    found = work.parent / "given-split" / "bundle" / "manifest.json"
    figures: Figures = {"splits": f"group split {100 + number}"}
    for name, rate in (("at_5_percent", RATE), ("at_1_percent", STRICT_RATE)):
        try:
            train(
                product="tile",
                normal=normal,
                out=work / "bundle",
                groups=tiles / "groups.csv",
                asked=Asked(false_reject_rate=rate, confidence=CONFIDENCE),
                recipe=read_recipe(found, best_precision(ENGINE)) if found.exists() else None,
                seed=seed,
            )
        except PromiseRefused as refused:
            figures[name] = {"refused": str(refused)}
            continue
        judged = evaluate(bundle=work / "bundle", normal=held_out)
        figures[name] = {"refused": None, "realised": judged["false_reject_rate"], "pictures": judged["normal_images"]}
    return figures


def _supervised(tiles: Path, kind: str, number: int, work: Path) -> Figures:
    """Some defects are known: split at random, by part, or by part and with masks of where the known ones lie."""
    groups = None if kind == "random" else tiles / "groups.csv"
    dataset, _ = find_dataset(
        [tiles / "train" / "normal", tiles / "test" / "normal"], tiles / "test" / "abnormal", groups
    )
    split = next(each for each in make_splits(dataset, 1, number) if each.kind == ("grouped" if groups else "random"))
    learnt, tested = (_linked_both(dataset, split, part, work / part) for part in ("train", "test"))
    found = work.parent / f"supervised-grouped-{number}" / "recipe.json"
    if kind == "marked" and found.exists() and not (work / "recipe.json").exists():  # masks do not change the search
        shutil.copy(found, work)
    return _train_and_evaluate(
        work,
        normal=learnt / "normal",
        abnormal=learnt / "abnormal",
        masks=tiles / "test" / "masks" if kind == "marked" else None,
        groups=groups,
        seed=number,
        tested=Tested(tested / "normal", tested / "abnormal"),
    ) | {"leaks": kind == "random"}


def _ablate(tiles: Path, seed: int, work: Path) -> Figures:
    shutil.rmtree(work, ignore_errors=True)  # a study that is there is gone on with, and would take no time
    work.mkdir(parents=True)
    started = time.perf_counter()
    report = ablate(
        normal=[tiles / "train" / "normal", tiles / "test" / "normal"],
        abnormal=tiles / "test" / "abnormal",
        groups=tiles / "groups.csv",
        out=work,
        quick=True,
        seed=seed,
    )
    empty = [
        f"{line.row.name} {line.kind}" for line in report.lines if not all(np.isfinite(line.mean(m)) for m in MEASURES)
    ]
    return {"seconds_of_study": time.perf_counter() - started, "rows": len(report.lines), "empty": empty}


def measure_board(board: Path, seed: int, work: Path) -> Figures:
    """Half of the crops are learnt from; the others are tested, good and defective."""
    crops = sorted({Path(file.name).stem for file in find_pictures(board / "normal")})
    learnt = set(np.random.default_rng(seed).permutation(crops)[: len(crops) // 2].tolist())
    normals, abnormals = find_pictures(board / "normal"), find_pictures(board / "abnormal")
    return _train_and_evaluate(
        work,
        normal=_linked([file for file in normals if Path(file.name).stem in learnt], work / "train"),
        groups=None,
        seed=seed,
        tested=Tested(
            _linked([file for file in normals if Path(file.name).stem not in learnt], work / "test-normal"),
            _linked([file for file in abnormals if Path(file.name).stem not in learnt], work / "test-abnormal"),
        ),
    )


def measure_other(folder: Path, seed: int, work: Path) -> Figures:
    """Learn from the good training pictures, test the others."""
    kinds = [path for path in sorted((folder / "test").iterdir()) if path.is_dir() and path.name != "good"]
    defective = [PictureFile(file.path, f"{kind.name}/{file.name}") for kind in kinds for file in find_pictures(kind)]
    return _train_and_evaluate(
        work,
        normal=folder / "train" / "good",
        groups=None,
        seed=seed,
        tested=Tested(folder / "test" / "good", _linked(defective, work / "abnormal")),
    )


def _train_and_evaluate(
    work: Path,
    *,
    normal: Path,
    groups: Path | None,
    seed: int,
    tested: Tested,
    abnormal: Path | None = None,
    masks: Path | None = None,
) -> Figures:
    """As `chipsieve train` and `evaluate` do without flags; search and training are kept each as soon as it is done."""
    recipe, bundle = work / "recipe.json", work / "bundle"
    if not recipe.exists():
        found = search_recipe(
            files := find_pictures(normal),
            groups=read_groups(groups, files),
            abnormals=find_pictures(abnormal) if abnormal else (),
            max_ms=None,
            engine=ENGINE,
            precision=best_precision(ENGINE),
            seed=seed,
            progress=silent,
        )
        recipe.write_text(json.dumps(found.recipe.to_json() | {"search": found.report}), encoding="utf-8")
    plain = json.loads(recipe.read_text(encoding="utf-8"))
    search = plain.pop("search")
    if not (bundle / "manifest.json").exists():
        train(
            product="measured",
            normal=normal,
            abnormal=abnormal,
            masks=masks,
            out=bundle,
            groups=groups,
            recipe=Recipe.from_json(plain),
            seed=seed,
        )
    figures = evaluate(bundle=bundle, normal=tested.normal, abnormal=tested.abnormal, masks=tested.masks)
    return figures | {"recipe_search": search}


def _split_by_group(tiles: Path, number: int, seed: int) -> tuple[list[PictureFile], list[PictureFile]]:
    """All good pictures, a fifth of them in groups that are tested."""
    files = [file for part in ("train", "test") for file in find_pictures(tiles / part / "normal")]
    group_of = np.array(read_groups(tiles / "groups.csv", files))
    tested = np.zeros(len(files), np.bool_)
    for group in np.random.default_rng([seed, number]).permutation(np.unique(group_of)):
        if tested.sum() >= TEST_SHARE * len(files):
            break
        tested |= group_of == group
    return (
        [file for file, is_tested in zip(files, tested, strict=True) if not is_tested],
        [file for file, is_tested in zip(files, tested, strict=True) if is_tested],
    )


def _linked(files: Sequence[PictureFile], folder: Path) -> Path:
    """A folder that links to the files under their own names."""
    shutil.rmtree(folder, ignore_errors=True)
    for file in files:
        link = folder / file.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file.path.resolve())
    return folder


def _linked_both(dataset: Dataset, split: Split, part: str, folder: Path) -> Path:
    chosen = split.train if part == "train" else split.test
    for name, wanted in (("normal", False), ("abnormal", True)):
        _linked([dataset.files[index] for index in chosen if dataset.defective[index] == wanted], folder / name)
    return folder
