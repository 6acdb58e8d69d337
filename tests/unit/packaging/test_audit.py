"""What an audit says of versions that the index tells little of."""

import json
import sys
from pathlib import Path

import pytest

from requirements import audit

LOCK = (
    "fresh==2.0 \\\n    --hash=sha256:00\nold==1.0 ; python_version > '3' \\\n    --hash=sha256:00\n    # via fresh\n"
)
PINNED = {"fresh": "2.0", "old": "1.0"}
HARMED = {"id": "PYSEC-1", "fixed_in": ["2.1"], "withdrawn": None}


def page(version: str, *advisories: dict) -> dict:
    return {"info": {"version": version}, "vulnerabilities": list(advisories)}


def skipped(*names: str) -> list[dict]:
    return [{"name": name, "skip_reason": "not found on PyPI"} for name in names]


def test_the_pins_of_a_lock_file_are_found() -> None:
    assert audit.pins(LOCK) == PINNED


def test_what_pip_audit_compared_is_not_asked_for_again() -> None:
    answers = [{"name": "fresh", "vulns": []}, {"name": "old", "vulns": [{"id": "PYSEC-2", "fix_versions": []}]}]
    found, missed = audit.audit(answers, PINNED, pytest.fail)
    assert (found, missed) == (["old 1.0: PYSEC-2, mended in no release"], [])


def test_a_newest_release_is_compared_where_pip_audit_found_none() -> None:
    found, missed = audit.audit(skipped("fresh", "old"), PINNED, lambda name: page(PINNED[name], HARMED))
    assert found == ["fresh 2.0: PYSEC-1, mended in 2.1", "old 1.0: PYSEC-1, mended in 2.1"]
    assert missed == []


def test_an_older_release_and_an_unknown_package_are_named_as_not_compared() -> None:
    pages = {"fresh": None, "old": page("1.1", HARMED)}
    assert audit.audit(skipped("fresh", "old"), PINNED, pages.get) == ([], ["fresh 2.0", "old 1.0"])


def test_an_advisory_that_was_withdrawn_counts_no_more() -> None:
    withdrawn = HARMED | {"withdrawn": "2026-01-01T00:00:00Z"}
    assert audit.audit(skipped("fresh"), {"fresh": "2.0"}, lambda _name: page("2.0", withdrawn)) == ([], [])


@pytest.mark.parametrize(
    ("pages", "status"),
    [
        ({"fresh": page("2.0"), "old": page("1.0")}, audit.CLEAN),
        ({"fresh": page("2.0"), "old": page("1.1")}, audit.NOT_COMPARED),
        ({"fresh": page("2.0", HARMED), "old": page("1.1")}, audit.VULNERABLE),
    ],
)
def test_what_could_not_be_compared_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pages: dict, status: int
) -> None:
    (tmp_path / "a.lock").write_text(LOCK)
    monkeypatch.setattr(audit, "newest_release", pages.get)
    answer = json.dumps({"dependencies": skipped("fresh", "old")})
    pip_audit = [sys.executable, "-c", f"print({answer!r})"]
    assert audit.main([*pip_audit, "--", str(tmp_path / "a.lock")]) == status


def test_a_pip_audit_that_fails_ends_the_audit_with_its_words(tmp_path: Path) -> None:
    (tmp_path / "a.lock").write_text(LOCK)
    with pytest.raises(SystemExit, match="no such host"):
        audit.main([sys.executable, "-c", "raise SystemExit('no such host')", "--", str(tmp_path / "a.lock")])
