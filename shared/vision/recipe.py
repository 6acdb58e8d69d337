"""A product's recipe: how its pictures become numbers, and which numbers may be compared."""

import hashlib
import json
import re
import sys
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, get_args

from shared.vision.errors import BadRecipe

# Bump when decoding, resizing, pooling or quantisation changes what features mean: old banks must not be compared then.
PREPROCESSING = "resize-area-1"
QUANTISATION = "int8-per-patch-1"

Metric = Literal["cosine", "l2", "learnt", "place"]
Precision = Literal["f32", "bf16", "int8"]

DARK_LINES, BRIGHT_LINES = "dark-lines", "bright-lines"
LINE_TAPS = (DARK_LINES, BRIGHT_LINES)
"""Taps that every backbone has, since they look at its pixels (`shared.vision.thin_lines`)."""
LINE_CELL = 16
"""Pixels a side of their patches, as of the backbone's middle layers. Others are another `PREPROCESSING`."""

MOST_PIXELS = 4096
"""Of an input's side: the backbone takes gigabytes for it already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One grid of patch features, and how its distances are read.

    Raises:
        BadRecipe: a value that means nothing.
    """

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
    """The image score of the layer is the mean over this fraction of its largest patch distances, one at least."""
    weight: float = 1.0
    """Of the layer's standardised score and map among the other layers'; 0 leaves it out of both."""

    def __post_init__(self) -> None:
        for field, is_sound, wanted in (
            ("tap", _is_name(self.tap), "the name of one of the backbone's taps"),
            ("input_size", _is_count(self.input_size), f"a whole number of pixels, 1 to {MOST_PIXELS}"),
            ("pool", _is_count(self.pool), f"a whole number of patches, 1 to {MOST_PIXELS}"),
            ("metric", self.metric in get_args(Metric), f"one of {', '.join(get_args(Metric))}"),
            ("top_fraction", _is_number(self.top_fraction, most=1), "a number from 0 to 1"),
            ("weight", _is_number(self.weight), "a number, 0 or more"),
        ):
            if not is_sound:
                raise BadRecipe(
                    f"the recipe's layer of tap {self.tap!r:.50} has {field} {getattr(self, field)!r:.50}: "
                    f"it takes {wanted}"
                )

    @property
    def name(self) -> str:
        """Name of the layer's grid, unique in a recipe: what is extracted, not how it is compared."""
        return f"{self.tap}@{self.input_size}/{self.pool}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides what a product's features are and how they are matched.

    Raises:
        BadRecipe: a value that means nothing.
    """

    layers: tuple[Layer, ...]
    backbone: str = "efficientnet-lite0"
    precision: Precision = "f32"
    graphs_sha256: str | None = None
    """Of the int8 graphs, which the bundle brings along (`shared.vision.int8_graphs`); None in other precisions."""

    def __post_init__(self) -> None:
        digest = self.graphs_sha256
        for field, is_sound, wanted in (
            ("backbone", _is_name(self.backbone), "a backbone's name"),
            ("precision", self.precision in get_args(Precision), f"one of {', '.join(get_args(Precision))}"),
            (
                "graphs_sha256",
                digest is None or (isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest)),
                "64 hex digits, or nothing",
            ),
        ):
            if not is_sound:
                raise BadRecipe(f"the recipe has {field} {getattr(self, field)!r:.50}: it takes {wanted}")

    def check_whole(self) -> None:
        """Raise `BadRecipe` where no picture could be judged by it. Some of a recipe's layers alone need not judge."""
        if not any(layer.weight > 0 for layer in self.layers):
            raise BadRecipe(
                f"none of the recipe's {len(self.layers)} layers has a weight above 0: it takes one that has"
            )

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
        """From `to_json`'s form; TypeError names an unknown or missing field, BadRecipe a value that means nothing."""
        return cls(**{**plain, "layers": tuple(Layer(**layer) for layer in plain["layers"])})


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_PIXELS


def _is_number(value: object, most: float = sys.float_info.max) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most


DEFAULT_RECIPE = Recipe(layers=(Layer(tap="b12"), Layer(tap="b14")))
