"""What runs in the peers' own environment, on its own: anomalib's PatchCore and PaDiM on our backbone's weights.

    python anomalib_program.py fit --method patchcore --weights FILE.pth --pictures LIST --model DIR …
    python anomalib_program.py features|judge|measure …

Started by `benchmarks.peers`; imports nothing of ours. ``LIST`` names a picture a line. What is found out goes to
standard output as one line of JSON, the last.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from anomalib.deploy import OpenVINOInferencer
from anomalib.models import Padim, Patchcore
from anomalib.models.image.padim import torch_model as padim_model
from anomalib.models.image.patchcore import torch_model as patchcore_model
from anomalib.pre_processing import PreProcessor
from PIL import Image
from torchvision.transforms.v2 import Compose, Normalize, Resize

BATCH = 16  # pictures whose features are taken together to fit
NEIGHBOURS = 9  # anomalib's own
PADIM_FEATURES = 100  # of all channels, drawn at random: what anomalib takes of a resnet18's 448
WARM_UP = 16


class Taps(torch.nn.Module):  # type: ignore[misc]  # torch is not in our environment
    """EfficientNet-Lite0 up to the last tap, in the place of anomalib's extractor, which offers other layers alone."""

    def __init__(self, weights: Path, taps: Sequence[str]) -> None:
        super().__init__()
        network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        # The checkpoint has the same tensors in the same order, by other names.
        tensors = torch.load(weights, map_location="cpu", weights_only=True)
        network.load_state_dict(dict(zip(network.state_dict(), tensors.values(), strict=True)))
        blocks = [block for stage in network.blocks for block in stage]
        last = max(int(tap.removeprefix("b")) for tap in taps)
        self.stem = torch.nn.Sequential(network.conv_stem, network.bn1)
        self.blocks = torch.nn.ModuleList(blocks[: last + 1])
        self.taps = tuple(taps)
        self.eval()
        self.out_dims = [features.shape[1] for features in self(torch.zeros(1, 3, 64, 64)).values()]

    def train(self, mode: bool = True) -> "Taps":  # noqa: ARG002 - torch's signature
        """Stays as it is: what is fitted are statistics of its features."""
        super().train(False)
        return self

    def forward(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
        """Features (N, C, h, w) by tap."""
        found = {}
        with torch.no_grad():
            x = self.stem(pictures)
            for index, block in enumerate(self.blocks):
                x = block(x)
                found[f"b{index}"] = x
        return {tap: found[tap] for tap in self.taps}


def transform(size: int) -> Compose:
    """As our backbone wants its pixels: (p - 127) / 128."""
    return Compose([Resize((size, size), antialias=True), Normalize([127 / 255] * 3, [128 / 255] * 3)])


def picture(path: str, size: int) -> Image.Image:
    """Decoded and resized as anomalib's own transform would, so that the graph can have one shape."""
    with Image.open(path) as image:
        return image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)


def tensor(path: str, size: int) -> torch.Tensor:
    """The same, float32 (3, size, size) from 0 to 1."""
    return torch.from_numpy(np.asarray(picture(path, size)).transpose(2, 0, 1).astype(np.float32) / 255)


def fit(args: argparse.Namespace) -> dict[str, Any]:
    """The method's model of the normals; writes its OpenVINO graph and its torch module."""
    started = time.perf_counter()
    torch.manual_seed(args.seed)
    taps = Taps(args.weights, args.taps)
    for module in (patchcore_model, padim_model):
        module.TimmFeatureExtractor = lambda **_: taps
    common = {
        "backbone": "tf_efficientnet_lite0",
        "layers": list(args.taps),
        "pre_trained": False,
        "pre_processor": PreProcessor(transform(args.size)),
        "evaluator": False,
        "visualizer": False,
    }
    if args.method == "patchcore":
        method = Patchcore(**common, num_neighbors=NEIGHBOURS)
    else:
        method = Padim(**common, n_features=PADIM_FEATURES)
    method.model.train()
    prepare = transform(args.size)
    paths = args.pictures.read_text().splitlines()
    for at in range(0, len(paths), BATCH):
        method.model(prepare(torch.stack([tensor(path, args.size) for path in paths[at : at + BATCH]])))
    if args.method == "patchcore":
        patches = sum(len(part) for part in method.model.embedding_store)
        method.coreset_sampling_ratio = min(1.0, (args.bank + 0.5) / patches)
    method.fit()
    method.eval()
    args.model.mkdir(parents=True, exist_ok=True)
    torch.save(method.model, args.model / "model.pt")
    method.to_openvino(args.model, input_size=(args.size, args.size))
    bank = len(method.model.memory_bank) if args.method == "patchcore" else None
    return {"seconds": time.perf_counter() - started, "normals": len(paths), "bank": bank}


def features(args: argparse.Namespace) -> dict[str, Any]:
    """The taps' features of pictures, (N, C, h, w) each."""
    pixels = torch.stack([tensor(path, args.size) for path in args.pictures.read_text().splitlines()])
    found = Taps(args.weights, args.taps)(transform(args.size)(pixels))
    np.savez(args.out, **{tap: values.numpy() for tap, values in found.items()})
    return {"taps": list(found)}


def judge(args: argparse.Namespace) -> dict[str, Any]:
    """Scores (N,) and maps (N, size, size) of pictures, by the OpenVINO graph."""
    inferencer = _inferencer(args)
    scores, maps = [], []
    for path in args.pictures.read_text().splitlines():
        found = inferencer.predict(picture(path, args.size))
        scores.append(float(np.ravel(found.pred_score)[0]))
        maps.append(np.asarray(found.anomaly_map, np.float32).reshape(args.size, args.size))
    np.savez(args.out, scores=np.array(scores, np.float32), maps=np.stack(maps))
    return {"images": len(scores)}


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Images a second, and CPU milliseconds an image, of decoding and judging one after the other."""
    paths = args.pictures.read_text().splitlines()
    if args.path == "openvino":
        inferencer = _inferencer(args)

        def look(path: str) -> None:
            inferencer.predict(picture(path, args.size))

    else:
        module = torch.load(args.model / "model.pt", weights_only=False).eval()  # our own file, made by `fit`
        prepare = transform(args.size)

        def look(path: str) -> None:
            with torch.inference_mode():
                module(prepare(tensor(path, args.size)[None]))

    for path in paths[:WARM_UP]:
        look(path)
    started, cpu = time.perf_counter(), time.process_time()
    for path in paths:
        look(path)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    return {"images_per_second": len(paths) / seconds, "cpu_ms": cpu / len(paths) * 1000, "images": len(paths)}


def _inferencer(args: argparse.Namespace) -> OpenVINOInferencer:
    graph = next(args.model.rglob("*.xml"))
    return OpenVINOInferencer(graph, device="CPU", config={"INFERENCE_PRECISION_HINT": args.precision})


def main() -> None:
    """Do one job and report it."""
    parser = argparse.ArgumentParser(description=__doc__)
    jobs = parser.add_subparsers(required=True)
    for job in (fit, features, judge, measure):
        sub = jobs.add_parser(job.__name__)
        sub.set_defaults(job=job)
        sub.add_argument("--pictures", type=Path, required=True)
        sub.add_argument("--size", type=int, required=True)
        sub.add_argument("--method", choices=("patchcore", "padim"))
        sub.add_argument("--model", type=Path)
        sub.add_argument("--weights", type=Path)
        sub.add_argument("--taps", type=lambda text: text.split(","))
        sub.add_argument("--bank", type=int)
        sub.add_argument("--seed", type=int, default=0)
        sub.add_argument("--precision", choices=("f32", "bf16"))
        sub.add_argument("--path", choices=("openvino", "torch"))
        sub.add_argument("--out", type=Path)
    args = parser.parse_args()
    print(json.dumps(args.job(args)))


if __name__ == "__main__":
    main()
