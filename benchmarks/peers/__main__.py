"""``python -m benchmarks.peers``: our whole line beside anomalib's PatchCore and PaDiM; `main` explains."""

import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from rich.console import Console

from benchmarks.peers import ours
from benchmarks.peers.comparison import HEADLINE, OURS, SAME_FEATURES, accuracy, best, largest_difference, rows
from benchmarks.peers.environment import PeerFailed, Peers
from benchmarks.table import Table, document
from services.cli.precision import PrecisionChoice
from services.trainer.material.pictures import find_pictures
from shared.vision.backbone_weights import EFFICIENTNET_LITE0, backbone_weights_path
from shared.vision.cache import default_cache_dir
from shared.vision.engines.precision import best_precision
from shared.vision.memory_bank import MAX_VECTORS
from shared.vision.picture import decode, resize
from shared.vision.recipe import Precision

METHODS = {"patchcore": "anomalib PatchCore", "padim": "anomalib PaDiM"}
PROOF_PICTURES = 8
NOTES = (
    "Chipsieve decodes, resizes, takes each tap at its own grid, pools 3 x 3, quantises to int8, sends that through "
    "Kafka, finds each patch's nearest of {bank} vectors a tap by cosine, and gives a verdict with map and mask. "
    "PatchCore stretches all taps to the finest grid, joins them to one vector a patch, finds the nearest of {bank} by "
    "Euclidean distance, weighs the largest one by nine neighbours, and enlarges and blurs the map. PaDiM takes 100 of "
    "the channels, and each place's Mahalanobis distance to a Gaussian of its own. Neither gives a verdict: no "
    "threshold is fitted. Their pictures are shrunk bilinearly with antialiasing, ours by area.\n\n"
    "Features of the same pixels differ by {difference:.1e} of the largest one."
)

messages = Console(stderr=True, highlight=False)


app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command()
def main(
    *,
    tiles: Annotated[Path, typer.Option(help="Folder with train/normal and test/normal, abnormal, masks.")],
    out: Annotated[Path, typer.Option(help="Folder for what is fitted and measured; goes on with what is there.")],
    taps: Annotated[str, typer.Option(help="Taps of all three, the one with the finest grid first.")] = "b10,b12,b14",
    input_size: Annotated[int, typer.Option(min=64, help="Side of the square that pictures are resized to.")] = 256,
    precision: Annotated[
        PrecisionChoice, typer.Option(help="Of our line and of the peers' OpenVINO; auto: the machine's best float.")
    ] = PrecisionChoice.AUTO,
    count: Annotated[int, typer.Option(min=16, help="Pictures a round of timing, repeated if need be.")] = 1200,
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is drawn at random.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the JSON instead of the table.")] = False,
) -> None:
    """Our whole line beside anomalib's PatchCore and PaDiM: same backbone weights, taps, picture size and pictures.

    Each peer decodes and judges one picture after the other, without a broker, on all cores, by anomalib's own
    OpenVINOInferencer on a graph of fixed size, in the precision that our line has, or beside our int8 in the machine's
    best float; its torch path stands beside. Our line has Kafka, registry, Redis and all services on the same cores,
    and its CPU time counts all of them: the figure to look at on a busy machine. Accuracy is told by the same code for
    all.

    The first run makes an environment of anomalib's own, 6 GB in the cache, as PyPI's torch brings CUDA along. What was
    fitted and judged is kept in --out, and an interrupted run goes on where it stopped; remove a file there to measure
    it again. Speed is measured anew each time, in turns: peers, our line, peers; the best round of each counts.
    """
    chosen = precision.asked or best_precision("openvino")
    theirs = their_precision(chosen)
    out.mkdir(parents=True, exist_ok=True)
    keep_settings(
        out, {"tiles": str(tiles.resolve()), "taps": taps, "input_size": input_size, "precision": chosen, "seed": seed}
    )
    messages.print("the peers' environment …")
    peers = Peers.make(default_cache_dir())
    common = {"taps": taps, "size": input_size, "weights": backbone_weights_path(EFFICIENTNET_LITE0)}
    difference = kept(out / "features.json", partial(prove, peers, tiles, out, common))["difference"]

    normals = [file.path for file in find_pictures(tiles / "train" / "normal")]
    tested = [file.path for kind in ("normal", "abnormal") for file in find_pictures(tiles / "test" / kind)]
    bundle = out / "bundle"
    recipe = ours.recipe_of(taps.split(","), input_size)
    fitted = {OURS: kept(out / "ours-fitted.json", partial(ours.fit, tiles, recipe, chosen, bundle, seed))}
    accurate = {
        OURS.partition(",")[0]: kept(out / "ours-accuracy.json", partial(ours.accuracy, tiles / "test", bundle))
    }
    for method, name in METHODS.items():
        options = {"method": method, "model": out / method, "bank": MAX_VECTORS, "seed": seed, **common}
        fitted[name] = kept(out / f"{method}-fitted.json", partial(peers.run, "fit", normals, **options))
        accurate[name] = kept(
            out / f"{method}-accuracy.json",
            partial(judged, peers, tiles, tested, model=out / method, size=input_size, precision=theirs),
        )

    speed = time_all(peers, list(islice(cycle(tested), count)), out, input_size, theirs)
    notes = [NOTES.format(bank=MAX_VECTORS, difference=difference)]
    title = f"Peers side by side, {taps} at {input_size} px, ours in {chosen}, theirs in {theirs}"
    table = Table(title, rows(speed, accurate), notes)
    found = document(table) | {"fitted": fitted, "rounds_of": count, "headline": HEADLINE}
    (out / "peers.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    typer.echo(json.dumps(found) if as_json else table.markdown())


def their_precision(ours: Precision) -> Precision:
    """What the peers' OpenVINO computes in: as our line; the best float beside int8, which they have no graphs for."""
    return best_precision("openvino") if ours == "int8" else ours


def keep_settings(out: Path, settings: dict[str, Any]) -> None:
    """Note what is measured; refuse a folder of what was measured with other settings."""
    file = out / "settings.json"
    if file.exists() and (before := json.loads(file.read_text(encoding="utf-8"))) != settings:
        changed = [name for name in settings if before.get(name) != settings[name]]
        raise typer.BadParameter(f"{out} was measured with another {', '.join(changed)}: name another folder")
    file.write_text(json.dumps(settings), encoding="utf-8")


def kept(file: Path, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was measured before, or is measured now."""
    if not file.exists():
        messages.print(f"{file.stem} …")
        file.write_text(json.dumps(measure()), encoding="utf-8")
    return dict(json.loads(file.read_text(encoding="utf-8")))


def prove(peers: Peers, tiles: Path, out: Path, common: dict[str, Any]) -> dict[str, float]:
    """That both see the same in the same pixels; raises `PeerFailed` where they do not."""
    size = common["size"]
    files = find_pictures(tiles / "test" / "normal")[:PROOF_PICTURES]
    pictures = [resize(decode(file.read()), size) for file in files]
    folder = out / "proof"
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number}.png" for number in range(len(pictures))]
    for path, picture in zip(paths, pictures, strict=True):
        cv2.imwrite(str(path), picture[:, :, ::-1])
    peers.run("features", paths, out=folder / "theirs.npz", **common)
    with np.load(folder / "theirs.npz") as theirs:
        difference = largest_difference(ours.raw_features(pictures, common["taps"].split(","), size), dict(theirs))
    shutil.rmtree(folder)
    if difference > SAME_FEATURES:
        raise PeerFailed(
            f"the peers' features differ from ours by {difference:.2g} of the largest one: they do not run our backbone"
        )
    return {"difference": difference}


def judged(
    peers: Peers, tiles: Path, tested: Sequence[Path], *, model: Path, size: int, precision: str
) -> dict[str, float | None]:
    """How accurate a peer is; its maps are not kept."""
    found = model / "judged.npz"
    peers.run("judge", tested, model=model, size=size, precision=precision, out=found)
    with np.load(found) as arrays:
        figures = accuracy(tiles / "test", arrays["scores"], arrays["maps"])
    found.unlink()
    return figures


def time_all(
    peers: Peers, pictures: Sequence[Path], out: Path, size: int, precision: str
) -> dict[str, dict[str, float]]:
    """The best round of each, by name."""

    def peer(method: str, path: str) -> dict[str, float]:
        messages.print(f"timing {METHODS[method]}, {path} …")
        return peers.run("measure", pictures, model=out / method, size=size, precision=precision, path=path)

    rounds: dict[str, list[dict[str, float]]] = {method: [peer(method, "openvino")] for method in METHODS}
    messages.print("timing our line …")
    line = ours.speed(out / "bundle", [path.read_bytes() for path in pictures], messages)
    for method in METHODS:
        rounds[method].append(peer(method, "openvino"))
    return {
        OURS: best(line),
        **{f"{name}, OpenVINOInferencer": best(rounds[method]) for method, name in METHODS.items()},
        **{f"{name}, torch f32": best([peer(method, "torch")]) for method, name in METHODS.items()},
    }


if __name__ == "__main__":
    app()
