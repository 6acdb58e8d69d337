"""What is normal for a product, in memory. Needs numpy alone, so that an extractor may read about banks too."""

from dataclasses import dataclass
from typing import TypeAlias

from shared.vision.calibration import Calibration
from shared.vision.head import Head
from shared.vision.memory_bank import LayerBank
from shared.vision.patch_head import PatchHead
from shared.vision.patch_network import PatchNetwork
from shared.vision.place_memory import PlaceMemory
from shared.vision.recipe import Metric, Recipe

LayerMemory: TypeAlias = LayerBank | PatchNetwork | PlaceMemory
"""What patches of a layer are compared with: normal ones, a network's sense of defects, or what is usual at a place."""


def memory_type(metric: Metric) -> type[LayerMemory]:
    """What layers of a metric have."""
    kinds: dict[Metric, type[LayerMemory]] = {"learnt": PatchNetwork, "place": PlaceMemory}
    return kinds.get(metric, LayerBank)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bank:
    """What is normal for a product, in memory. Immutable; a new threshold is a new bank."""

    product: str
    version: str
    """Empty until the bank is written as a bundle."""
    feature_space: str
    recipe: Recipe
    layers: tuple[LayerMemory, ...]
    """One a layer of the recipe, in its order."""
    calibration: Calibration
    threshold: float
    """A picture that scores above it is rejected."""
    mask_threshold: float
    """A pixel of the upsampled map above it is anomalous."""
    head: Head | None = None
    """What was learnt from whole pictures of defects; None where they tell nothing."""
    patch_head: PatchHead | None = None
    """What was learnt from their patches; likewise."""

    def __post_init__(self) -> None:
        counts = len(self.recipe.layers), len(self.layers), len(self.calibration.layers)
        if len(set(counts)) > 1:
            raise ValueError("a recipe of {} layers with {} layer banks and {} calibrations".format(*counts))
        for layer, memory in zip(self.recipe.layers, self.layers, strict=True):
            if memory_type(layer.metric) is not type(memory):
                raise ValueError(f"layer {layer.name} of metric {layer.metric} with a {type(memory).__name__}")
