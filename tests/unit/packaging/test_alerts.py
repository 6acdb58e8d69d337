"""The alerts: each is tried by promtool, and each has its page in the runbook."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from services.extractor.step import ExtractorStep
from services.gateway.service import NAME
from services.matcher.step import MatcherStep
from services.router.step import RouterStep

ROOT = Path(__file__).parents[3]
RULES = ROOT / "ops" / "prometheus" / "alerts.yml"
TESTS = RULES.with_name("alerts_test.yml")
ALERTS = {rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed: apt-get install prometheus")
@pytest.mark.parametrize(("what", "file"), [(("check", "rules"), RULES), (("test", "rules"), TESTS)])
def test_promtool_finds_the_rules_right_and_their_tests_pass(what: tuple[str, str], file: Path) -> None:
    done = subprocess.run(["promtool", *what, str(file)], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tried() -> None:
    tried = yaml.safe_load(TESTS.read_text())["tests"]
    raised = {case["alertname"] for test in tried for case in test["alert_rule_test"] if case.get("exp_alerts")}
    assert raised == set(ALERTS)


def test_every_service_is_missed() -> None:
    """Each by its own name: nothing else says what there should be."""
    missed = re.findall(r'absent\(chipsieve_ready{stage="(\w+)"}\)', ALERTS["ServiceMissing"]["expr"])
    assert sorted(missed) == sorted([NAME, ExtractorStep.name, MatcherStep.name, RouterStep.name])


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_has_its_section_in_the_runbook(name: str) -> None:
    file, _, anchor = ALERTS[name]["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / file).read_text(), re.MULTILINE)
    assert anchor in {heading.lower().replace(" ", "-") for heading in headings}
    assert anchor == name.lower()
