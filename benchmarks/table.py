"""What a benchmark reports: rows of numbers, as JSON and as a table."""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Table:
    """Rows of figures under the same names."""

    title: str
    rows: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)
    """Sentences: what the figures mean, what to compare them with."""

    def markdown(self) -> str:
        """As a section of a page."""
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        lines = [f"## {self.title}", "", f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
        lines += [f"| {' | '.join(_cell(row.get(name)) for name in columns)} |" for row in self.rows]
        return "\n".join([*lines, "", *self.notes])


def command(measure: Callable[[], Table]) -> None:
    """The main program of a benchmark: a table for people, or with ``--json`` one document."""
    parser = argparse.ArgumentParser(description=measure.__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    as_json = parser.parse_args().json
    table = measure()
    print(json.dumps(document(table)) if as_json else table.markdown())


def document(table: Table) -> dict[str, Any]:
    """The table with the machine it was measured on, as plain JSON."""
    return {"title": table.title, "machine": machine(), "rows": table.rows, "notes": table.notes}


def machine() -> dict[str, Any]:
    """What the figures were measured on; a load above the number of CPUs spoils them."""
    lines = CPU_INFO.read_text().splitlines() if CPU_INFO.exists() else []
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    return {"cpu": model, "cpus": os.cpu_count(), "load": round(os.getloadavg()[0], 2), "date": time.strftime("%F %R")}


def fastest(calls: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, float]:
    """Seconds of the fastest of some rounds of each call; taken in turns, so that all see the same machine."""
    best = dict.fromkeys(calls, float("inf"))
    for call in calls.values():
        call()  # warms up
    for _ in range(rounds):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - started)
    return best


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
