"""Coverage-guided fuzzing for a nightly run: ``python -m tests.fuzz [TARGET...]``, one JSON at the end.

What was found interesting is kept in ``out/fuzz`` and is where the next run begins. An input that raised what it must
not lies there too; it becomes a regression test. Exit status 1 where there is one.
"""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

from tests.fuzz.targets import TARGETS

OUT = Path("out/fuzz")
# The quick ones get more: 110,000 inputs in all.
RUNS = {"picture": 20_000, "codec": 30_000, "rle": 30_000, "bundle": 12_000, "settings": 8_000, "gateway": 10_000}
LONGEST_INPUT = 256  # bytes; each choice that a target takes of them costs two
TIMEOUT_S = 20  # a single input that takes longer has found something
MEMORY_MB = 1024  # three times what a target needs with everything imported; what grows without bound passes it
LAST_WORDS = 15  # lines of a log that say what was raised


def fuzz(name: str) -> dict[str, object]:
    """Run one target; how many inputs, how long, how much memory, and what it found."""
    corpus = OUT / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    log = OUT / f"{name}.log"
    options = {
        "runs": RUNS[name],
        "max_len": LONGEST_INPUT,
        "timeout": TIMEOUT_S,
        "rss_limit_mb": MEMORY_MB,
        "artifact_prefix": f"{OUT}/{name}-",
        "print_final_stats": 1,
    }
    command = [sys.executable, "-m", "tests.fuzz.guided", name]
    began = time.monotonic()
    with log.open("wb") as output:
        status = subprocess.run(
            [*command, *(f"-{option}={value}" for option, value in options.items()), str(corpus)],
            stdout=output,
            stderr=output,
            check=False,
        ).returncode
    told = log.read_text(errors="replace")
    statistics = dict(re.findall(r"stat::(\w+):\s+(\d+)", told))
    return {
        "inputs": int(statistics.get("number_of_executed_units", 0)),
        "seconds": round(time.monotonic() - began, 1),
        "peak_memory_mb": int(statistics.get("peak_rss_mb", 0)),
        "found": "\n".join(told.splitlines()[-LAST_WORDS:]) if status else None,
    }


def main(names: list[str]) -> int:
    """Fuzz these targets, all by default."""
    report = {}
    for name in names or TARGETS:
        report[name] = fuzz(name)
        print(f"{name}: {report[name]}", file=sys.stderr)
    inputs = sum(int(str(each["inputs"])) for each in report.values())
    found = [name for name, each in report.items() if each["found"]]
    print(json.dumps({"inputs": inputs, "found": found, "targets": report}))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
