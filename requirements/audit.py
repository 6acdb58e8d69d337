"""Compare lock files with the advisories of PyPI, and say of what that was not possible.

    python requirements/audit.py PIP_AUDIT_COMMAND... -- LOCK...

pip-audit asks PyPI for the advisories of each version. A package mirror often serves packages and the page of each
package's newest release, and nothing of the older ones; pip-audit then calls every version "not found". What it skips
is asked for again here, at the newest release's page, which names the advisories of that release. Exit status 0: all
was compared and nothing is known. 1: nothing is known, but not all could be compared. 2: there are advisories.
"""

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pip._internal.models.index import PyPI  # pip offers its index's address nowhere else

CLEAN, NOT_COMPARED, VULNERABLE = 0, 1, 2
ANSWER_S = 30.0

Page = dict[str, Any]


def main(arguments: Sequence[str]) -> int:
    """Audit each lock file; the worst exit status of all."""
    split = arguments.index("--")
    command, locks = arguments[:split], [Path(name) for name in arguments[split + 1 :]]
    worst = CLEAN
    for lock in locks:
        pinned = pins(lock.read_text())
        found, missed = audit(_pip_audit(command, lock), pinned, newest_release)
        print(f"{lock}: {len(pinned) - len(missed)} of {len(pinned)} versions compared, {len(found)} advisories")
        for line in found:
            print(f"  {line}")
        if missed:
            print(f"  The package index that is reached from here has no advisories for: {', '.join(missed)}.")
            print("  A mirror with newest releases' pages alone? Audit these where PyPI itself is reached.")
        worst = max(worst, VULNERABLE if found else NOT_COMPARED if missed else CLEAN)
    return worst


def audit(
    dependencies: Sequence[Page], pinned: dict[str, str], newest: Callable[[str], Page | None]
) -> tuple[list[str], list[str]]:
    """What is known against the pinned versions, and the versions of which nothing could be learnt.

    Args:
        dependencies: pip-audit's answer, one object a package, with `skip_reason` where it could not compare.
        pinned: version by package.
        newest: PyPI's page of a package's newest release, None where there is none.
    """
    found, missed = [], []
    compared = {dependency["name"]: dependency["vulns"] for dependency in dependencies if "vulns" in dependency}
    for name, version in pinned.items():
        advisories = compared.get(name)
        if advisories is None:
            page = newest(name)
            if page is None or page["info"]["version"] != version:
                missed.append(f"{name} {version}")
                continue
            advisories = [advisory for advisory in page["vulnerabilities"] if not advisory.get("withdrawn")]
        for advisory in advisories:
            fixed = ", ".join(advisory.get("fix_versions") or advisory.get("fixed_in") or ()) or "no release"
            found.append(f"{name} {version}: {advisory['id']}, mended in {fixed}")
    return found, missed


def pins(lock: str) -> dict[str, str]:
    """Version by package of a lock file's text."""
    return dict(re.findall(r"^([\w.-]+)==([^\s;\\]+)", lock, re.MULTILINE))


@cache
def newest_release(name: str) -> Page | None:
    """PyPI's page of a package."""
    try:
        with urllib.request.urlopen(f"{PyPI.pypi_url}/{name}/json", timeout=ANSWER_S) as answer:  # noqa: S310 - https
            page: Page = json.load(answer)
    except (urllib.error.URLError, TimeoutError):
        return None
    return page


def _pip_audit(command: Sequence[str], lock: Path) -> list[Page]:
    options = ("--require-hashes", "--disable-pip", "--format", "json", "--progress-spinner", "off")
    done = subprocess.run([*command, *options, "--requirement", str(lock)], capture_output=True, text=True, check=False)
    if not done.stdout:  # it also exits with 1 where it found something
        sys.exit(f"{' '.join(command)}: {done.stderr}")
    answer: list[Page] = json.loads(done.stdout)["dependencies"]
    return answer


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
