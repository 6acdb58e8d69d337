"""``python -m benchmarks``: every benchmark in turn, each in a process of its own; writes ``benchmarks/RESULTS.md``."""

import json
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.table import Table, machine

MODULES = ("engine", "matching", "codec", "decode", "stages", "pipeline", "scaling", "memory")
RESULTS = Path(__file__).parent / "RESULTS.md"
TIMEOUT_S = 300
SPOILT_LOAD = 0.5  # a CPU, by others


def main() -> int:
    """Exit status: 1 if a benchmark failed."""
    began = machine()
    sections, failed = [], []
    for module in MODULES:
        started = time.monotonic()
        print(f"{module} …", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", f"benchmarks.{module}", "--json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=TIMEOUT_S, check=False)
        if done.returncode != 0:
            failed.append(module)
            continue
        found = json.loads(done.stdout)
        table = Table(found["title"], found["rows"], found["notes"])
        spent = f"`python -m benchmarks.{module}`, {time.monotonic() - started:.0f} s, load {found['machine']['load']}"
        sections.append(f"{table.markdown()}\n\n{spent}".replace("\n\n\n", "\n\n"))
    if not failed:
        head = f"# Results\nOf `make bench` on {began['cpus']} CPUs ({began['cpu']}), {began['date']} UTC."
        if began["load"] > SPOILT_LOAD * began["cpus"]:
            head += (
                f" **Other work was running** (load {began['load']}): believe memory and CPU times, not rates, "
                "latencies or how replicas scale."
            )
        RESULTS.write_text("\n\n".join([head, *sections]) + "\n")
    else:
        print(f"failed: {', '.join(failed)}; {RESULTS} is as it was", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
