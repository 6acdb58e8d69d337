from pathlib import Path

import pytest

from services.router.errors import InvalidRules
from services.router.rules_file import DEFAULT_RULES, load_rules


@pytest.fixture
def rules_file(tmp_path: Path) -> Path:
    return tmp_path / "rules.yaml"


def fault(path: Path, text: str) -> str:
    path.write_text(text)
    with pytest.raises(InvalidRules) as refused:
        load_rules(path)
    assert str(path) in str(refused.value)
    return str(refused.value)


def test_the_rules_that_come_with_the_router_are_valid() -> None:
    rules = load_rules()
    assert rules.defaults.reject_burst is not None
    assert rules.defaults.uninspected_streak is not None
    assert rules.defaults.line_silent is not None


def test_the_example_in_the_default_rules_is_valid_once_uncommented(rules_file: Path) -> None:
    text = DEFAULT_RULES.read_text()
    example = text[text.index("#   lines:") : text.index("\nlines: {}")]
    rules_file.write_text("\n".join(line.removeprefix("#   ") for line in example.splitlines()))
    rules = load_rules(rules_file)
    assert rules.line_silent("line-7", "qfn32")[0] is None
    assert rules.reject_burst("line-7", "qfn32")[0] is not None


def test_an_empty_file_has_no_rules(rules_file: Path) -> None:
    rules_file.write_text("# nothing yet\n")
    assert load_rules(rules_file).defaults.reject_burst is None


def test_a_missing_file_is_named_with_the_setting_that_names_it(rules_file: Path) -> None:
    with pytest.raises(InvalidRules, match="CHIPSIEVE_ROUTER__RULES") as refused:
        load_rules(rules_file)
    assert str(rules_file) in str(refused.value)


def test_what_is_not_yaml_is_refused(rules_file: Path) -> None:
    assert "is not YAML" in fault(rules_file, "defaults: [")


def test_a_document_that_is_no_mapping_is_refused(rules_file: Path) -> None:
    assert "the document is ['burst']" in fault(rules_file, "- burst")


def test_an_unknown_key_is_named_with_its_path(rules_file: Path) -> None:
    text = "lines: {line-1: {reject_bursts: {rejects: 2, chips: 9}}}"
    assert "lines.line-1.reject_bursts is no key that is known here" in fault(rules_file, text)


def test_a_missing_limit_is_named_with_its_path(rules_file: Path) -> None:
    assert "defaults.reject_burst.chips is missing" in fault(rules_file, "defaults: {reject_burst: {rejects: 2}}")


def test_an_impossible_limit_is_named_with_its_value(rules_file: Path) -> None:
    said = fault(rules_file, "defaults: {line_silent: {seconds: 0}}")
    assert "defaults.line_silent.seconds is 0: input should be greater than or equal to 1" in said


def test_a_number_in_quotes_is_no_number(rules_file: Path) -> None:
    assert "seconds is '60'" in fault(rules_file, "defaults: {line_silent: {seconds: '60'}}")


def test_a_burst_that_can_never_be_is_refused(rules_file: Path) -> None:
    said = fault(rules_file, "products: {qfn32: {reject_burst: {rejects: 5, chips: 4}}}")
    assert "5 rejects among 4 chips can never be" in said


def test_every_fault_is_named_at_once(rules_file: Path) -> None:
    said = fault(rules_file, "defaults: {line_silent: {seconds: 0}, uninspected_streak: {}}")
    assert "line_silent.seconds" in said
    assert "uninspected_streak.chips" in said
