"""The live table: what every line sent and got back. A plain progress line where nobody can see a table."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from services.cli.demo.tally import Tally

MOMENT = 0.001  # seconds; the first table is drawn before any time has passed
PLAIN_EVERY_SECONDS = 5.0  # a log that someone follows; a terminal gets the table four times a second


class Board:
    """Shows the lines' tallies on standard error while the ``with`` block runs."""

    def __init__(self, console: Console, expected: int) -> None:
        self._console = console
        self._expected = expected
        self._started = time.monotonic()
        self._told_at = 0.0
        self._live = Live(console=console, refresh_per_second=4) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def show(self, lines: Mapping[str, Tally]) -> None:
        """Show these tallies, by line, in place of the ones before."""
        if self._live:
            self._live.update(board_table(lines, self._expected, time.monotonic() - self._started))
        elif time.monotonic() - self._told_at >= PLAIN_EVERY_SECONDS:
            self._told_at = time.monotonic()
            told = "; ".join(
                f"{line}: {each.verdicts} of {each.sent} judged, {each.rejected + each.uninspected} rejected"
                for line, each in lines.items()
            )
            self._console.print(f"{told} ({self._expected} chips in all)", soft_wrap=True)


def board_table(lines: Mapping[str, Tally], expected: int, seconds: float) -> Table:
    """A row a line."""
    judged = sum(each.verdicts for each in lines.values())
    table = Table(
        title=f"{judged} of {expected} chips judged, {judged / max(seconds, MOMENT):.1f} a second",
        box=None,  # its lines would take the room for headings from a terminal of 80 columns
        pad_edge=False,
    )
    table.add_column("line")
    for column in ("chips", "verdicts", "pass", "reject", "uninspected", "latency\np50", "p99", "chips/s"):
        table.add_column(column, justify="right")
    for line, each in lines.items():
        passed = each.sent - each.lost - each.rejected - each.uninspected
        table.add_row(
            line,
            str(each.sent),
            str(each.verdicts),
            f"[green]{passed}[/]",
            f"[red]{each.rejected}[/]" if each.rejected else "0",
            f"[yellow]{each.uninspected}[/]" if each.uninspected else "0",
            _milliseconds(each.p50_ms),
            _milliseconds(each.p99_ms),
            f"{each.verdicts / max(seconds, MOMENT):.1f}",
        )
    return table


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"
