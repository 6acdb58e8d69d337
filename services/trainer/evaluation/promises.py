"""Whether a bundle's promises hold on pictures that it was not calibrated on."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from shared.vision.calibration import Calibration
from shared.vision.promise import Promise, in_percent

# That an interval over groups says anything of chance: all of five lie on one side of the mean once in 32 times, which
# is oftener than an interval's tail of 2.5 %.
FEWEST_GROUPS = 6


class Independent(NamedTuple):
    """Groups of the judged pictures; a picture that is in none is one by itself."""

    normals: int
    abnormals: int


def broken_promises(
    calibration: Calibration, figures: Mapping[str, Any], groups: Independent | None = None
) -> list[str]:
    """One sentence for each promised rate that the measured one exceeds, and whether chance may explain it.

    Args:
        calibration: the bundle's, with its promises.
        figures: ``false_reject_rate``, ``escape_rate`` and their ``ci95``; a rate or an interval may be None.
        groups: how many there are; None where each picture stands for itself.
    """
    normals, abnormals = groups or (None, None)
    measured = (
        (calibration.promise, "false_reject_rate", "of the good pictures are rejected", normals),
        (calibration.escape_promise, "escape_rate", "of the defective pictures are passed", abnormals),
    )
    sentences = []
    for promise, name, happens, units in measured:
        rate, ends = figures[name], figures["ci95"][name]
        if promise is None or rate is None or rate <= promise.promised_rate:
            continue
        between = f" (95 % interval {ends[0]:.3%} to {ends[1]:.3%})" if ends else ""
        sentences.append(
            f"{rate:.3%} {happens}{between} where at most {promise.promised_rate:.3%} were promised with "
            f"{in_percent(promise.confidence)} confidence; {_judged(promise, ends, units)}"
        )
    return sentences


def _judged(promise: Promise, ends: tuple[float, float] | None, groups: int | None) -> str:
    """Whether that may be chance."""
    if ends is None or ends[0] <= promise.promised_rate:
        return "so few pictures may do so by chance: judge more"
    if groups is None and promise.groups is not None:
        return (
            "the promise rests on groups, and pictures of one are alike: whether chance explains it cannot be told "
            "without --groups"
        )
    if groups is not None and groups < FEWEST_GROUPS:
        return f"pictures of so few groups ({groups}) may do so by chance: judge others"
    return (
        "more than chance explains: these are not like the pictures that the threshold rests on. Train again with some "
        "of their kind, or see whether camera or light have changed"
    )
