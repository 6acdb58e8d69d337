"""Pictures that are too unlike a bundle's normals to be added to them: another product's, or defects that slipped in.

Confirmed false rejects lie above the threshold too, by definition. But they are good parts: once some of their kind are
known, the others are not odd any more, and the threshold stays about where it was. Pictures of another product stay odd
among themselves, and the threshold that must lie above them lets the bundle's own defects pass.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.trainer.doubts.odd_normals import FEWEST, MAD_TO_STD
from services.trainer.errors import StrangePictures
from services.trainer.material.picture_features import Looked
from services.trainer.normality.layers import CHUNK
from shared.vision.bank import Bank
from shared.vision.calibration import SCORE_STD_FLOOR
from shared.vision.inspection import inspect

# In spreads of the remembered normals. On tiles, 20 other good tiles raise the threshold by 1.5, and the tiles that are
# rejected lie up to 1.5 above it; pictures of a circuit board raise it by 5 to 8, and their middle lies 15 above it.
WARNED_RISE = 2.0
REFUSED_RISE = 4.0
FAR_ABOVE = 10.0
# Another product's pictures lie 9 to 70 above it where a bundle was made of 2 to 8, which spread widely.
WARNED_FAR = 5.0
# Share of their oddness that the new pictures keep once others of them are known. Less of it, and they are all odd by
# the same thing, as by a new stamp, which the bundle then knows. A board's pictures among tiles keep nearly half.
LEARNT = 0.05
# Spreads above the middle, at least: old scores of two kinds of good part spread more than either.
USUAL_THRESHOLD = 3.0


@dataclass(frozen=True, slots=True)
class Strangeness:
    """How new pictures compare with what a bundle remembers of its normals."""

    before: float
    """The threshold as it was."""
    after: float
    """The threshold that would be."""
    middle: float
    """Median of the remembered held-out scores."""
    spread: float
    """Of the remembered held-out scores."""
    added: float
    """Median of the new pictures' scores by the bundle as it was."""

    @classmethod
    def of(
        cls, remembered: NDArray[np.float32], added: NDArray[np.float32], before: float, after: float
    ) -> "Strangeness":
        """From (N,) remembered and (n,) new scores, and the two thresholds."""
        middle = float(np.median(remembered))
        beyond = np.abs(remembered - middle)
        deviation = MAD_TO_STD * float(np.median(beyond)) if len(remembered) >= FEWEST else float(np.ptp(remembered))
        spread = max(deviation, (before - middle) / USUAL_THRESHOLD, SCORE_STD_FLOOR)
        return cls(before, after, middle, spread, float(np.median(added)))

    @property
    def rise(self) -> float:
        """Of the threshold, spreads."""
        return (self.after - self.before) / self.spread

    @property
    def above(self) -> float:
        """How far the new pictures' middle lies above the threshold as it was, spreads."""
        return (self.added - self.before) / self.spread

    @property
    def too_much(self) -> bool:
        """Whether the pictures cannot be of the same product, or not good ones."""
        return (self.above > FAR_ABOVE or self.rise > REFUSED_RISE) and self.after - self.middle > LEARNT * (
            self.added - self.middle
        )


def refuse_strangers(
    bank: Bank, remembered: NDArray[np.float32], added: Looked, after: float, *, counted: bool = True
) -> list[str]:
    """Compare new pictures with what a bundle remembers; a warning where the threshold rises much, or they are odd.

    Args:
        bank: as it was before they were learnt.
        remembered: (N,) held-out scores of its normals.
        added: the new pictures.
        after: the threshold that would be.
        counted: whether that is the new threshold; else some of the new pictures do not count for it.

    Raises:
        StrangePictures: with the numbers.
    """
    scores = scores_by(bank, added)
    found = Strangeness.of(remembered, scores, bank.threshold, after)
    oddest = added.files[int(np.argmax(scores))].name
    rises = "rises" if counted and not found.too_much else "would rise"
    moved = f"the threshold {rises} from {bank.threshold:.4g} to {after:.4g}{'' if counted else ' if all counted'}"
    if found.too_much:
        above = int((scores > bank.threshold).sum())
        raise StrangePictures(
            f"{above} of {len(scores)} new pictures are rejected by the bundle as it is; their median score is "
            f"{found.added:.4g}, that of its own good pictures {found.middle:.4g} with a spread of {found.spread:.2g}, "
            f"and {moved}. See whether they show good parts of {bank.product}, foremost {oddest}; if "
            "the product has changed that much, train it anew"
        )
    if found.rise > WARNED_RISE:
        return [f"{moved}, so that more defects may pass: see whether all new pictures are good, foremost {oddest}"]
    if found.above > WARNED_FAR:
        far = f"the new pictures' median score is {found.added:.4g}, far above the threshold {bank.threshold:.4g}"
        good = f"they show good parts of {bank.product}, foremost {oddest}"
        return [f"{far}, and they are learnt as good: see whether {good}"]
    return []


def scores_by(bank: Bank, looked: Looked) -> NDArray[np.float32]:
    """(N,) scores of pictures by a bank."""
    scores = [
        inspection.score
        for start in range(0, len(looked.files), CHUNK)
        for inspection in inspect(looked.grids[start : start + CHUNK], looked.sizes[start : start + CHUNK], bank)
    ]
    return np.array(scores, np.float32)
