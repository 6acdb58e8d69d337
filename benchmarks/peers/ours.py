"""Our side of the comparison: the same taps, the same pictures, the whole line."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from services.cli.benchmark.processes import CpuTimes, server_pids
from services.cli.benchmark.rig import own_stack, running, send
from services.cli.benchmark.warming import warm_up
from services.trainer.evaluation.evaluate import evaluate
from services.trainer.train import train
from shared.bank.bundle_folder import read_bundle
from shared.vision.engines.loading import load_engine
from shared.vision.picture import Picture
from shared.vision.recipe import Layer, Precision, Recipe

ROUNDS = 2


def recipe_of(taps: Sequence[str], input_size: int) -> Recipe:
    """The usual layers of these taps at one input size."""
    return Recipe(layers=tuple(Layer(tap=tap, input_size=input_size) for tap in taps))


def raw_features(
    pictures: Sequence[Picture], taps: Sequence[str], input_size: int
) -> Mapping[str, NDArray[np.float32]]:
    """What the taps give of pictures of the input size, in f32, before any pooling; (N, h, w, C) by tap."""
    recipe = Recipe(layers=tuple(Layer(tap=tap, input_size=input_size, pool=1) for tap in taps))
    found = load_engine("openvino", recipe).features(np.stack(pictures), input_size)
    return {layer.tap: found[layer.name] for layer in recipe.layers}


def fit(tiles: Path, recipe: Recipe, precision: Precision, bundle: Path, seed: int) -> dict[str, float]:
    """Train a bundle of the normals, and say how long it took."""
    groups = tiles / "groups.csv"
    started = time.perf_counter()
    train(
        product="peers",
        normal=tiles / "train" / "normal",
        groups=groups if groups.exists() else None,
        out=bundle,
        recipe=recipe,
        precision=precision,
        seed=seed,
    )
    return {"seconds": time.perf_counter() - started}


def accuracy(tested: Path, bundle: Path) -> dict[str, float | None]:
    """Image AUROC and AU-PRO of the bundle."""
    figures = evaluate(bundle=bundle, normal=tested / "normal", abnormal=tested / "abnormal", masks=tested / "masks")
    return {name: figures[name] for name in ("image_auroc", "au_pro")}


def speed(bundle: Path, pictures: Sequence[bytes], console: Console) -> list[dict[str, float]]:
    """Images a second through a broker with all services, and CPU milliseconds an image of all of it; some rounds."""
    loaded = read_bundle(bundle)
    rounds = []
    with own_stack(console, full_compiler=True) as work, running(work, loaded) as rig:
        services = {service.name: service.process.pid for service in rig.line.services} | server_pids(work)
        warm_up(rig, loaded.manifest.product, pictures, console)
        for _ in range(ROUNDS):
            rig.verdicts.clear()
            cpu, started = CpuTimes.of(services), time.time()
            send(rig.producer, loaded.manifest.product, pictures, interval=None)
            rig.verdicts.wait_for(len(pictures))
            seconds = rig.verdicts.last_arrival() - started
            spent = sum(cpu.since().values())
            rounds.append({"images_per_second": len(pictures) / seconds, "cpu_ms": spent / len(pictures) * 1000})
    return rounds
