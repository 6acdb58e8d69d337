import pytest

from services.trainer.errors import TrainingError
from services.trainer.evaluation.ablation.rows import ROWS, choose_rows


def test_rows_are_chosen_by_name_pattern_and_family() -> None:
    assert choose_rows([], []) == ROWS
    assert [row.name for row in choose_rows(["eff*", "classical"], ["*-svm"])] == [
        *("logistic-regression", "k-nn", "random-forest", "gradient-boosting", "lda", "naive-bayes"),
        *("efficientnet-lite0", "efficientnetb0"),
    ]


def test_names_patterns_and_families_are_taken_in_any_case() -> None:
    assert choose_rows(["Classical", "EFF*"], ["LDA", "Random-*"]) == choose_rows(
        ["classical", "eff*"], ["lda", "random-*"]
    )


def test_an_unknown_row_is_refused_with_the_choices() -> None:
    with pytest.raises(TrainingError, match=r"no row 'resnet'.*resnet50"):
        choose_rows(["resnet"], [])


def test_skipping_all_is_refused() -> None:
    with pytest.raises(TrainingError, match="leaves no row"):
        choose_rows(["padim"], ["detector"])
