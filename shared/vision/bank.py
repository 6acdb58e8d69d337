"""What is normal for a product, in memory. Needs numpy alone, so that an extractor may read about banks too."""

from dataclasses import dataclass

from shared.vision.calibration import Calibration
from shared.vision.head import Head
from shared.vision.memory_bank import LayerBank
from shared.vision.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Bank:
    """What is normal for a product, in memory. Immutable; a new threshold is a new bank."""

    product: str
    version: str
    """Empty until the bank is written as a bundle."""
    feature_space: str
    recipe: Recipe
    layers: tuple[LayerBank, ...]
    """One a layer of the recipe, in its order."""
    calibration: Calibration
    threshold: float
    """A picture that scores above it is rejected."""
    mask_threshold: float
    """A pixel of the upsampled map above it is anomalous."""
    head: Head | None = None
    """What was learnt from pictures of defects; None where normals alone judge."""

    def __post_init__(self) -> None:
        counts = len(self.recipe.layers), len(self.layers), len(self.calibration.layers)
        if len(set(counts)) > 1:
            raise ValueError("a recipe of {} layers with {} layer banks and {} calibrations".format(*counts))
