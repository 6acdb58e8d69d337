"""A product's recipe: how its pictures become numbers, and which numbers may be compared."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

# Bump when decoding, resizing, pooling or quantisation changes what features mean: old banks must not be compared then.
PREPROCESSING = "resize-area-1"
QUANTISATION = "int8-per-patch-1"

Metric = Literal["cosine", "l2", "learnt", "place"]
Precision = Literal["f32", "bf16", "int8"]

DARK_LINES, BRIGHT_LINES = "dark-lines", "bright-lines"
LINE_TAPS = (DARK_LINES, BRIGHT_LINES)
"""Taps that every backbone has, since they look at its pixels (`shared.vision.thin_lines`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One grid of patch features, and how its distances are read."""

    tap: str
    """Name of the backbone's tap, for instance ``b12``, or one of `LINE_TAPS`."""
    input_size: int = 256
    """Side of the square the picture is resized to, pixels."""
    pool: int = 3
    """Side of the average-pooling window over patches; 1 pools nothing."""
    metric: Metric = "cosine"
    """Distance to the nearest normal patch; ``learnt`` asks a network instead that was trained on drawn defects, and
    ``place`` asks how far above the usual at its place a feature is."""
    top_fraction: float = 0.03
    """The image score of the layer is the mean over this fraction of its largest patch distances."""
    weight: float = 1.0
    """Of the layer's standardised score and map among the other layers'."""

    @property
    def name(self) -> str:
        """Name of the layer's grid, unique in a recipe: what is extracted, not how it is compared."""
        return f"{self.tap}@{self.input_size}/{self.pool}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides what a product's features are and how they are matched."""

    layers: tuple[Layer, ...]
    backbone: str = "efficientnet-lite0"
    precision: Precision = "f32"
    graphs_sha256: str | None = None
    """Of the int8 graphs, which the bundle brings along (`shared.vision.int8_graphs`); None in other precisions."""

    @property
    def input_sizes(self) -> tuple[int, ...]:
        """The sizes that the layers read, each once, in their order."""
        return tuple(dict.fromkeys(layer.input_size for layer in self.layers))

    def feature_space(self, weights_sha256: str) -> str:
        """Id of the space the features live in: 16 hex digits over all that decides their values.

        Metric and aggregation do not count: they read features, they do not make them.
        """
        decides = {
            "backbone": self.backbone,
            "weights": weights_sha256,
            "precision": self.precision,
            "preprocessing": PREPROCESSING,
            "quantisation": QUANTISATION,
            "grids": [layer.name for layer in self.layers],
        }
        if self.graphs_sha256:
            decides["graphs"] = self.graphs_sha256
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        plain = asdict(self)
        if self.graphs_sha256 is None:  # a bundle without graphs stays readable for those who know of none
            del plain["graphs_sha256"]
        return plain

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Self:
        """From `to_json`'s form; TypeError names an unknown or missing field."""
        return cls(**{**plain, "layers": tuple(Layer(**layer) for layer in plain["layers"])})


DEFAULT_RECIPE = Recipe(layers=(Layer(tap="b12"), Layer(tap="b14")))
