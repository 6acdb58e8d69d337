"""Whether a bundle's promises hold on pictures that it was not calibrated on."""

from collections.abc import Mapping
from typing import Any

from shared.vision.calibration import Calibration


def broken_promises(calibration: Calibration, figures: Mapping[str, Any]) -> list[str]:
    """One sentence for each promised rate that the measured one exceeds, and whether chance may explain it.

    Args:
        calibration: the bundle's, with its promises.
        figures: ``false_reject_rate``, ``escape_rate`` and their ``ci95``; a rate or an interval may be None.
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
        if ends is None or ends[0] <= promise.promised_rate:
            judged = "so few pictures may do so by chance: judge more"
        else:
            judged = (
                "more than chance explains: these are not like the pictures that the threshold rests on. Train again "
                "with some of their kind, or see whether camera or light have changed"
            )
        sentences.append(
            f"{rate:.3%} {happens}{between} where at most {promise.promised_rate:.3%} were promised with "
            f"{promise.confidence:.0%} confidence; {judged}"
        )
    return sentences
