"""Whether a bundle's promises hold on pictures that it was not calibrated on."""

from collections.abc import Mapping
from typing import Any

from shared.vision.calibration import Calibration
from shared.vision.promise import Promise, in_percent


def broken_promises(calibration: Calibration, figures: Mapping[str, Any]) -> list[str]:
    """One sentence for each promised rate that the measured one exceeds, and whether chance may explain it.

    Args:
        calibration: the bundle's, with its promises.
        figures: ``false_reject_rate``, ``escape_rate`` and their ``ci95``, of which a rate or an interval may be None;
            and ``groups``, None where each picture stands for itself.
    """
    measured = (
        (calibration.promise, "false_reject_rate", "of the good pictures are rejected"),
        (calibration.escape_promise, "escape_rate", "of the defective pictures are passed"),
    )
    sentences = []
    for promise, name, happens in measured:
        rate, ends = figures[name], figures["ci95"][name]
        if promise is None or rate is None or rate <= promise.promised_rate:
            continue
        between = f" (95 % interval {ends[0]:.3%} to {ends[1]:.3%})" if ends else ""
        judged = _judged(promise, ends, by_groups=figures["groups"] is not None)
        sentences.append(
            f"{rate:.3%} {happens}{between} where at most {promise.promised_rate:.3%} were promised with "
            f"{in_percent(promise.confidence)} confidence; {judged}"
        )
    return sentences


def _judged(promise: Promise, ends: tuple[float, float] | None, *, by_groups: bool) -> str:
    """Whether that may be chance."""
    if ends is None or ends[0] <= promise.promised_rate:
        return "so few pictures may do so by chance: judge more"
    if promise.groups is not None and not by_groups:
        return (
            "the promise rests on groups, and pictures of one are alike: whether chance explains it cannot be told "
            "without --groups"
        )
    return (
        "more than chance explains: these are not like the pictures that the threshold rests on. Train again with some "
        "of their kind, or see whether camera, light or the compression of pictures have changed"
    )
