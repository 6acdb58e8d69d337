"""The rows of the study: what is compared, by name."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from services.trainer.errors import TrainingError

Family = Literal["classical", "deep", "detector"]


@dataclass(frozen=True, slots=True)
class Row:
    """One way of telling good from defective."""

    name: str
    family: Family
    title: str


ROWS = (
    Row("logistic-regression", "classical", "Logistic regression"),
    Row("linear-svm", "classical", "SVM, linear"),
    Row("rbf-svm", "classical", "SVM, RBF"),
    Row("k-nn", "classical", "k-nearest neighbours"),
    Row("random-forest", "classical", "Random forest"),
    Row("gradient-boosting", "classical", "Gradient boosting"),
    Row("lda", "classical", "Linear discriminant analysis"),
    Row("naive-bayes", "classical", "Naive Bayes"),
    Row("ours", "detector", "Chipsieve, normals only"),
    Row("patchcore", "detector", "PatchCore-like"),
    Row("padim", "detector", "PaDiM"),
    Row("mahalanobis", "detector", "Mahalanobis distance"),
    Row("small-cnn", "deep", "Small CNN"),
    Row("efficientnet-lite0", "deep", "EfficientNet-Lite0"),
    Row("vgg16", "deep", "VGG16"),
    Row("resnet50", "deep", "ResNet50"),
    Row("inceptionv3", "deep", "InceptionV3"),
    Row("mobilenetv2", "deep", "MobileNetV2"),
    Row("efficientnetb0", "deep", "EfficientNetB0"),
)


def choose_rows(only: Sequence[str], skip: Sequence[str]) -> tuple[Row, ...]:
    """The rows that are asked for, in the study's order.

    Args:
        only: names, families or patterns (``eff*``), in any case; nothing asks for all.
        skip: likewise, to leave out.

    Raises:
        TrainingError: a name fits no row, or no row is left.
    """
    for wanted in (*only, *skip):
        if not any(_fits(row, wanted) for row in ROWS):
            raise TrainingError(
                f"the study has no row {wanted!r}: name a family (classical, detector, deep) or rows among "
                + ", ".join(row.name for row in ROWS)
            )
    chosen = tuple(
        row
        for row in ROWS
        if (not only or any(_fits(row, wanted) for wanted in only)) and not any(_fits(row, each) for each in skip)
    )
    if not chosen:
        raise TrainingError("what is skipped leaves no row to compare: skip fewer")
    return chosen


def _fits(row: Row, wanted: str) -> bool:
    wanted = wanted.lower()
    return wanted == row.family or fnmatchcase(row.name, wanted)
