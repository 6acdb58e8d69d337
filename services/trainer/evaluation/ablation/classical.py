"""Classical classifiers on the backbone's pooled features, as scikit-learn has them, with its usual settings."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from services.trainer.evaluation.ablation.dataset import Dataset
from services.trainer.evaluation.ablation.features import (
    BEFORE_LAST,
    LAST,
    MIDDLE,
    TIMED,
    TRUNK,
    Features,
    backbone_parameters,
    milliseconds,
)
from services.trainer.evaluation.ablation.results import Outcome
from services.trainer.evaluation.ablation.splits import Split

NUMBERS_A_NODE = 3  # feature, threshold, value

# Defective pictures are usually the fewer: wherever a classifier can weigh the truths alike, it does.
_MAKERS: dict[str, Callable[[int], Any]] = {
    "logistic-regression": lambda _: LogisticRegression(C=0.1, class_weight="balanced", max_iter=2000),
    "linear-svm": lambda _: SVC(kernel="linear", C=0.01, class_weight="balanced"),
    "rbf-svm": lambda _: SVC(C=10, class_weight="balanced"),
    "k-nn": lambda _: KNeighborsClassifier(5, weights="distance"),
    "random-forest": lambda seed: RandomForestClassifier(class_weight="balanced", random_state=seed),
    "gradient-boosting": lambda seed: GradientBoostingClassifier(max_features="sqrt", subsample=0.8, random_state=seed),
    # On principal components, since there are more features than pictures.
    "lda": lambda _: make_pipeline(PCA(0.95, svd_solver="full"), LinearDiscriminantAnalysis()),
    "naive-bayes": lambda _: GaussianNB(),
}


class Classical:
    """The family, ready to run on any split."""

    def __init__(self, features: Features, dataset: Dataset, seed: int) -> None:
        self._pooled = pooled_features(features)
        self._defective = dataset.defective
        self._seed = seed
        self._backbone = (backbone_parameters(), features.ms_per_image)

    def run(self, row: str, split: Split) -> Outcome:
        """Fit on the training pictures, judge the test ones."""
        classifier = make_pipeline(StandardScaler(), _MAKERS[row](self._seed + split.number))
        classifier.fit(self._pooled[split.train], self._defective[split.train])
        test = self._pooled[split.test]
        parameters, backbone_ms = self._backbone
        return Outcome(
            scores=_scores(classifier, test),
            rejected=np.asarray(classifier.predict(test), np.bool_),
            parameters=parameters + _parameters(classifier),
            ms_per_image=backbone_ms + milliseconds(classifier.predict, test[:TIMED, None]),
            notes={"how": f"on {test.shape[1]} pooled features of EfficientNet-Lite0"},
        )


def pooled_features(features: Features) -> NDArray[np.float32]:
    """(N, 1632) float32: the mean and the largest of every channel over a picture's patches, of four taps."""
    parts = []
    for layer in (TRUNK, MIDDLE, BEFORE_LAST, LAST):
        grids = features.grids(layer)
        parts += [grids.mean(axis=(1, 2)), grids.max(axis=(1, 2))]
    return np.concatenate(parts, axis=1)


def _scores(classifier: Pipeline, test: NDArray[np.float32]) -> NDArray[np.float32]:
    if hasattr(classifier, "decision_function"):
        return np.asarray(classifier.decision_function(test), np.float32)
    return np.asarray(classifier.predict_proba(test)[:, 1], np.float32)


def _parameters(classifier: Pipeline) -> int:
    """Numbers that the fitted classifier keeps."""
    scaler, fitted = classifier[0], classifier[-1]
    match fitted:
        case SVC():
            own = fitted.support_vectors_.size + fitted.dual_coef_.size + 1
            if fitted.kernel == "linear":
                own = fitted.coef_.size + 1
        case KNeighborsClassifier():
            own = fitted.n_samples_fit_ * (fitted.n_features_in_ + 1)
        case RandomForestClassifier():
            own = NUMBERS_A_NODE * sum(tree.tree_.node_count for tree in fitted.estimators_)
        case GradientBoostingClassifier():
            own = NUMBERS_A_NODE * sum(tree.tree_.node_count for tree in fitted.estimators_.ravel())
        case Pipeline():
            own = fitted[0].components_.size + fitted[-1].coef_.size + fitted[-1].intercept_.size
        case GaussianNB():
            own = fitted.theta_.size + fitted.var_.size + fitted.class_prior_.size
        case _:
            own = fitted.coef_.size + fitted.intercept_.size
    return int(own + scaler.mean_.size + scaler.scale_.size)
