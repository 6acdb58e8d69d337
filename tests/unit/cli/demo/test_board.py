import io
import re
from dataclasses import replace

from rich.console import Console

from services.cli.demo.board import Board, board_table
from services.cli.demo.tally import Tally

LINE = Tally(
    sent=10,
    verdicts=9,
    lost=1,
    duplicated=0,
    rejected=2,
    uninspected=1,
    escapes=0,
    false_rejects=0,
    p50_ms=41.6,
    p99_ms=80,
)


def text_of(renderable: object) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(renderable)
    return console.file.getvalue()


def test_the_board_has_a_row_a_line_with_its_figures() -> None:
    shown = text_of(board_table({"line-1": LINE}, 20, 3.0))
    assert "9 of 20 chips judged, 3.0 a second" in shown
    assert re.split(" {2,}", shown.splitlines()[-1].strip()) == [
        "line-1", "10", "9", "6", "2", "1", "42 ms", "80 ms", "3.0",
    ]  # fmt: skip


def test_where_nobody_sees_a_table_a_line_tells_how_far_it_is() -> None:
    console = Console(file=io.StringIO(), force_terminal=False, width=120)
    with Board(console, 20) as board:
        board.show({"line-1": LINE})
        board.show({"line-1": LINE})
    assert console.file.getvalue() == "line-1: 9 of 10 judged, 3 rejected (20 chips in all)\n"


def test_the_board_fits_a_terminal_of_80_columns() -> None:
    busy = replace(LINE, sent=12345, verdicts=12340, rejected=1234, p50_ms=141.6, p99_ms=11_180)
    console = Console(file=io.StringIO(), width=80)
    console.print(board_table({"line-1": busy, "line-2": busy}, 24690, 300))
    shown = console.file.getvalue()
    assert "…" not in shown
    assert "uninspected" in shown
