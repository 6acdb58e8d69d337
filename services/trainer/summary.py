"""What a bundle says of its making, whether it was trained or updated."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from services.trainer.evaluation.metrics import Confusion, auroc
from services.trainer.material.picture_features import Unreadable
from services.trainer.promise.thresholds import HeldOut
from shared.vision.calibration import Calibration


def promised(calibration: Calibration) -> dict[str, str | None]:
    """The promises as sentences."""
    escapes = calibration.escape_promise
    return {
        "promise": str(calibration.promise),
        "mask_promise": str(calibration.mask_promise),
        "escape_promise": str(escapes) if escapes else None,
    }


def on_held_out(normals: HeldOut, abnormals: HeldOut, threshold: float) -> dict[str, Any] | None:
    """How the held-out abnormals fare against the held-out normals; None where there are none."""
    if not len(abnormals.scores):
        return None
    scores = np.concatenate([normals.scores, abnormals.scores])
    defective = np.arange(len(scores)) >= len(normals.scores)
    confusion = Confusion.of(scores > threshold, defective)
    return {"image_auroc": auroc(scores, defective), "escape_rate": confusion.escape_rate}


def left_out(unreadable: Sequence[Unreadable]) -> list[str]:
    """One warning of files that are no pictures, where there are any."""
    if not unreadable:
        return []
    first = unreadable[0]
    return [f"{len(unreadable)} files were left out, for instance {first.name}: {first.why}"]
