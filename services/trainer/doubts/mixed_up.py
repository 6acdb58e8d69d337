"""Signs that good and defective pictures were mixed up, or that a bundle cannot tell them apart."""

from typing import Any

CHANCE = 0.5  # AUROC of scores that know nothing
MOST = 0.5  # share of known defects that pass, beyond which a bundle is of little use


def doubts(*, anomaly_auroc: float | None, on_abnormals: dict[str, Any] | None) -> list[str]:
    """Sentences on what training found on known defects, each of them held out.

    Args:
        anomaly_auroc: of the scores that know normal pictures alone; heads that learn from defects tell any two folders
            apart, whichever is the good one. None where there are no defects.
        on_abnormals: ``image_auroc`` and ``escape_rate`` of the bundle's own scores.
    """
    if on_abnormals is None:
        return []
    sentences = []
    if anomaly_auroc is not None and anomaly_auroc <= CHANCE:
        sentences.append(
            f"by what is normal alone, defective pictures score no higher than good ones (AUROC {anomaly_auroc:.2f}): "
            "are the folders mixed up?"
        )
    escapes = on_abnormals["escape_rate"]
    if escapes is not None and escapes > MOST:
        sentences.append(
            f"{escapes:.0%} of the known defects would pass: see whether they can be seen in the pictures, train with "
            "more of them, or ask for a limit with --max-escape-rate"
        )
    return sentences


def swapped(image_auroc: float | None) -> list[str]:
    """A sentence where, in an evaluation, defective pictures score below good ones."""
    if image_auroc is None or image_auroc >= CHANCE:
        return []
    sentence = (
        f"defective pictures score below good ones (AUROC {image_auroc:.2f}): are the folders swapped, or is this "
        "another product's bundle?"
    )
    return [sentence]
